//! The layer of the environment: `SHARDMQ_MQTT__MAX_INFLIGHT=64` is `mqtt.max_inflight = 64`.

use std::ffi::OsString;

use super::entries::Entries;
use super::origin::Origin;

/// What the names of our variables begin with, in any case.
const PREFIX: &str = "SHARDMQ_";
/// What the names of our tests' variables begin with. A broker that a test starts inherits
/// them.
const OF_TESTS: [&str; 2] = ["SHARDMQ_REQUIRE_", "SHARDMQ_TEST_"];
/// The variable that names the configuration file.
pub(crate) const CONFIG: &str = "SHARDMQ_CONFIG";

/// Reads the variables into the entries.
pub(crate) fn read(variables: &[(OsString, OsString)], entries: &mut Entries) {
    for (variable, value) in variables {
        let Some(variable) = variable.to_str() else {
            continue;
        };
        let upper = variable.to_ascii_uppercase();
        let Some(name) = upper.strip_prefix(PREFIX) else {
            continue;
        };
        let of_tests = OF_TESTS.iter().any(|prefix| upper.starts_with(prefix));
        if upper == CONFIG || of_tests || is_of_kubernetes(name) {
            continue;
        }
        let path = name.to_ascii_lowercase().replace("__", ".");
        let origin = Origin::Environment(variable.to_owned());
        match value.to_str() {
            Some(value) => entries.put_bare(&path, value, origin),
            None => entries.complain(origin, "the value is not UTF-8"),
        }
    }
}

/// Whether Kubernetes sets this variable in every pod beside a service called `shardmq` or
/// `shardmq-…`: `…SERVICE_HOST`, `…SERVICE_PORT…`, `…PORT` and `…PORT_1883_TCP…`.
fn is_of_kubernetes(name: &str) -> bool {
    if name.contains("__") {
        return false;
    }
    let numbered_port = name
        .split_once("PORT_")
        .is_some_and(|(_, rest)| rest.starts_with(|first: char| first.is_ascii_digit()));
    name.ends_with("SERVICE_HOST")
        || name.contains("SERVICE_PORT")
        || name == "PORT"
        || name.ends_with("_PORT")
        || numbered_port
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(variables: &[(&str, &str)]) -> (Entries, Vec<String>) {
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let mut entries = Entries::defaults();
        read(&variables, &mut entries);
        let problems = entries
            .take_problems()
            .iter()
            .map(ToString::to_string)
            .collect();
        (entries, problems)
    }

    #[test]
    fn two_underscores_are_a_dot_and_case_does_not_matter() {
        let (entries, problems) = read_all(&[
            ("SHARDMQ_LISTENERS__TCP__DEFAULT__BIND", "127.0.0.1:1999"),
            ("shardmq_data_dir", "/x"),
        ]);
        assert_eq!(problems, [""; 0]);
        let value = |path| entries.get(path).unwrap().value.to_string();
        assert_eq!(value("listeners.tcp.default.bind"), "\"127.0.0.1:1999\"");
        assert_eq!(value("data_dir"), "\"/x\"");
    }

    #[test]
    fn an_unknown_variable_is_an_error_that_names_it() {
        let (_, problems) = read_all(&[("SHARDMQ_MQTT__MAX_INFLIGT", "1")]);
        assert_eq!(
            problems,
            [
                "environment variable SHARDMQ_MQTT__MAX_INFLIGT: unknown key mqtt.max_infligt; \
              did you mean mqtt.max_inflight?"
            ]
        );
    }

    #[test]
    fn variables_that_others_set_are_left_alone() {
        let (_, problems) = read_all(&[
            ("SHARDMQ_CONFIG", "x.toml"),
            ("SHARDMQ_REQUIRE_CLIENTS", "1"),
            ("SHARDMQ_TEST_PATIENCE", "30"),
            ("SHARDMQ_SERVICE_HOST", "10.0.0.1"),
            ("SHARDMQ_SERVICE_PORT_MQTT", "1883"),
            ("SHARDMQ_PORT", "tcp://10.0.0.1:1883"),
            ("SHARDMQ_PORT_1883_TCP_ADDR", "10.0.0.1"),
            ("SHARDMQ_HEADLESS_PORT", "tcp://10.0.0.1:1883"),
            ("OTHER_MQTT__MAX_INFLIGHT", "nonsense"),
        ]);
        assert_eq!(problems, [""; 0]);
    }
}
