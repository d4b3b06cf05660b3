//! Topics with placeholders: `${clientid}`, `${username}`, `${host}`, `${port}` and, in topic
//! rewriting, `$1` to `$9`.

use protocol::topic::TEXT_BYTES_MAX;

/// A text with places to fill in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Text(Box<str>),
    ClientId,
    Username,
    Host,
    Port,
    /// What a group of the regular expression has matched.
    Group(usize),
}

/// What is known of a client.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) client_id: Box<str>,
    pub(super) username: Option<Box<str>>,
    pub(super) host: String,
    pub(super) port: u16,
}

/// Why a template cannot be filled in for a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unfillable {
    /// A fact would widen a filter: it has a wildcard in it.
    Wildcard,
    /// The client has no user name.
    NoUsername,
    /// The topic would be longer than a topic may be.
    TooLong,
}

const NAMED: [(&str, Part); 4] = [
    ("${clientid}", Part::ClientId),
    ("${username}", Part::Username),
    ("${host}", Part::Host),
    ("${port}", Part::Port),
];

impl Template {
    /// Takes a text apart. What is no placeholder stays as it is.
    pub(super) fn new(mut text: &str) -> Self {
        let (mut parts, mut plain) = (Vec::new(), String::new());
        while let Some(first) = text.chars().next() {
            let named = NAMED.iter().find(|(name, _)| text.starts_with(name));
            let digit = text.strip_prefix('$').and_then(|rest| rest.chars().next());
            let group = digit.and_then(|digit| digit.to_digit(10));
            let (part, length) = match (named, group) {
                (Some((name, part)), _) => (part.clone(), name.len()),
                (None, Some(number @ 1..)) => (Part::Group(number as usize), 2),
                _ => {
                    plain.push(first);
                    text = text.get(first.len_utf8()..).unwrap_or_default();
                    continue;
                }
            };
            push_text(&mut parts, &mut plain);
            parts.push(part);
            text = text.get(length..).unwrap_or_default();
        }
        push_text(&mut parts, &mut plain);
        Self(parts)
    }

    /// The highest group that it names; 0 for none.
    pub(super) fn groups(&self) -> usize {
        let groups = self.0.iter().map(|part| match part {
            Part::Group(number) => *number,
            _ => 0,
        });
        groups.max().unwrap_or(0)
    }

    /// Whether it names the client's address.
    pub(super) fn has_address(&self) -> bool {
        self.0
            .iter()
            .any(|part| matches!(part, Part::Host | Part::Port))
    }

    /// Fills in the places.
    pub(super) fn fill<'a>(
        &self,
        facts: &Facts,
        group: impl Fn(usize) -> &'a str,
    ) -> Result<String, Unfillable> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::ClientId => filled.push_str(plain(&facts.client_id)?),
                Part::Username => {
                    let username = facts.username.as_deref();
                    filled.push_str(plain(username.ok_or(Unfillable::NoUsername)?)?);
                }
                Part::Host => filled.push_str(&facts.host),
                Part::Port => filled.push_str(&facts.port.to_string()),
                Part::Group(number) => filled.push_str(group(*number)),
            }
            if filled.len() > TEXT_BYTES_MAX {
                return Err(Unfillable::TooLong);
            }
        }
        Ok(filled)
    }
}

fn push_text(parts: &mut Vec<Part>, plain: &mut String) {
    if !plain.is_empty() {
        parts.push(Part::Text(core::mem::take(plain).into()));
    }
}

/// A fact that names one client's topics and never those of others.
fn plain(fact: &str) -> Result<&str, Unfillable> {
    if fact.contains(['+', '#']) {
        return Err(Unfillable::Wildcard);
    }
    Ok(fact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            client_id: "c".into(),
            username: Some("u".into()),
            host: "192.0.2.1".to_owned(),
            port: 1234,
        }
    }

    fn fill(text: &str) -> Result<String, Unfillable> {
        let groups = ["", "one", "two"];
        let group = |number: usize| groups.get(number).copied().unwrap_or("");
        Template::new(text).fill(&facts(), group)
    }

    #[test]
    fn places_are_filled_in_and_the_rest_stays() {
        for (text, filled) in [
            ("", ""),
            ("a/b", "a/b"),
            ("${clientid}/${username}/$1/x", "c/u/one/x"),
            ("$2$1", "twoone"),
            ("${host}:${port}", "192.0.2.1:1234"),
            ("$0/$/${other}/$ü/$9", "$0/$/${other}/$ü/"),
        ] {
            assert_eq!(fill(text).as_deref(), Ok(filled), "{text}");
        }
        assert_eq!(Template::new("$3/$12").groups(), 3);
        assert!(Template::new("${port}").has_address());
    }

    #[test]
    fn a_client_cannot_widen_a_filter_by_its_name() {
        for name in ["#", "+", "a/#"] {
            let facts = Facts {
                client_id: name.into(),
                ..Facts::default()
            };
            let filled = Template::new("private/${clientid}").fill(&facts, |_| "");
            assert_eq!(filled, Err(Unfillable::Wildcard));
        }
    }

    #[test]
    fn a_client_without_a_user_name_fills_in_none() {
        let filled = Template::new("${username}").fill(&Facts::default(), |_| "");
        assert_eq!(filled, Err(Unfillable::NoUsername));
    }

    #[test]
    fn the_result_is_bounded() {
        let long = "x".repeat(TEXT_BYTES_MAX);
        let filled = Template::new("$1$1$1").fill(&facts(), |_| &long);
        assert_eq!(filled, Err(Unfillable::TooLong));
    }
}
