//! Values of settings: what each kind of key takes, and how it is read and written.

use std::collections::BTreeMap;
use std::fmt;

use log::LevelFilter;
use shards::settings::{Burst, Rate};
use toml::de::{DeInteger, DeValue};

use super::bind::Bind;
use super::cpu_list::CpuList;
use super::durability::{Durability, PAUSE_MAX};
use super::duration::Span;
use crate::cluster::discovery::url::Url;
use crate::cluster::seed::Seed;

/// What a key takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A port, or an address and a port.
    Bind,
    /// `true` or `false`.
    Boolean,
    /// So much in so long on top of a rate, or nothing.
    Burst,
    /// CPUs, at least one.
    Cpus,
    /// CPUs, perhaps none.
    CpusOrNone,
    /// When a message counts as stored.
    Durability,
    /// How long something takes, from and to so many seconds.
    Duration(u64, u64),
    /// A path of a folder or a file.
    Folder,
    /// A whole number in a range, both ends included.
    Integer(u64, u64),
    /// A level of the log.
    Level,
    /// `name@host`.
    NodeName,
    /// A power of two in a range, both ends included.
    PowerOfTwo(u64, u64),
    /// So much in so long, or `infinity`.
    Rate,
    /// A text of at least so many bytes that is never shown.
    Secret(usize),
    /// Names of nodes.
    Seeds,
    /// Addresses of HTTP servers, each with this port if it names none.
    Urls(u16),
    /// Any text without control characters, of so many bytes at most.
    Text(usize),
    /// An array of tables with these columns.
    Tables(&'static [Column]),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A text that is not empty.
    Words,
}

/// A field of the tables of [`Kind::Tables`].
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// What it is if nobody says anything; `None` if it must be said.
    pub(crate) default: Option<u64>,
}

/// A value as the configuration file, the environment or the command line has it,
/// before anything is known about the key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Raw {
    /// `true`, `false`.
    Boolean(bool),
    /// A whole number, as wide as TOML allows and wider.
    Integer(i128),
    /// An array.
    List(Vec<Self>),
    /// Something that no key takes, by its name in TOML.
    Other(&'static str),
    /// A table.
    Table(Vec<(String, Self)>),
    /// A string.
    Text(String),
}

/// A value that its key takes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Value {
    /// Of [`Kind::Bind`].
    Bind(Bind),
    /// Of [`Kind::Boolean`].
    Boolean(bool),
    /// Of [`Kind::Cpus`] and [`Kind::CpusOrNone`].
    Cpus(CpuList),
    /// Of [`Kind::Integer`] and [`Kind::PowerOfTwo`].
    Integer(u64),
    /// Of [`Kind::Duration`].
    Duration(Span),
    /// Of [`Kind::Level`].
    Level(LevelFilter),
    /// Of [`Kind::Seeds`] and [`Kind::Urls`].
    List(Vec<String>),
    /// Of [`Kind::Secret`].
    Secret(String),
    /// Of [`Kind::Durability`].
    Durability(Durability),
    /// Of [`Kind::Tables`]: by column.
    Tables(Vec<BTreeMap<&'static str, Self>>),
    /// Of [`Kind::Burst`], [`Kind::Folder`], [`Kind::NodeName`], [`Kind::Rate`],
    /// [`Kind::Text`], [`Kind::Word`] and [`Kind::Words`].
    Text(String),
}

impl Kind {
    /// What is allowed, in words that end an error message.
    pub(crate) fn allowed(self) -> String {
        match self {
            Self::Bind => "a port or an address with a port, such as 1883, 127.0.0.1:1883, \
                           0.0.0.0:1883 or [::]:1883"
                .to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::Burst => {
                "an amount in a period of up to an hour, such as 10000/60m, or 0/s for none"
                    .to_owned()
            }
            Self::Cpus => "CPU numbers such as \"0-3,8\"".to_owned(),
            Self::CpusOrNone => "CPU numbers such as \"0-3,8\", or \"\" for none".to_owned(),
            Self::Durability => format!(
                "\"synced\", \"memory\" or \"flushed_every = <ms>\" with 1 to {PAUSE_MAX} ms"
            ),
            Self::Duration(min, max) => format!(
                "a time from {} to {}, such as 90s, 1m or 24h",
                Span::of_seconds(min),
                Span::of_seconds(max)
            ),
            Self::Folder => "a path".to_owned(),
            Self::Integer(min, max) => format!("a whole number from {min} to {max}"),
            Self::Level => "off, error, warn, info, debug or trace".to_owned(),
            Self::NodeName => "name@host of letters, digits and . _ - (the host may have : [ ] \
                               too), such as shardmq1@10.0.0.5"
                .to_owned(),
            Self::PowerOfTwo(min, max) => format!("a power of two from {min} to {max}"),
            Self::Rate => {
                "an amount in a period of up to an hour, such as 1000/s or 10MB/10s, or infinity"
                    .to_owned()
            }
            Self::Secret(min) => format!("a text of at least {min} bytes"),
            Self::Seeds => "an array of names such as [\"shardmq@10.0.0.1\", \
                            \"shardmq@10.0.0.2:4370\"]"
                .to_owned(),
            Self::Urls(port) => {
                format!("an array of addresses such as [\"http://10.0.0.1:{port}\"]")
            }
            Self::Text(max) => {
                format!("at most {max} bytes of text without control characters")
            }
            Self::Tables(columns) => {
                let names: Vec<_> = columns.iter().map(|column| column.name).collect();
                format!("an array of tables with {}", names.join(", "))
            }
            Self::Word(words) => words.join(", "),
            Self::Words => "a text that is not empty".to_owned(),
        }
    }

    /// Reads a value, or says in one clause what is wrong with it.
    pub(crate) fn read(self, raw: &Raw) -> Result<Value, String> {
        self.value(raw).map_err(|reason| match reason {
            _ if matches!(self, Self::Secret(_)) => {
                format!("(not shown) is not allowed; allowed: {}", self.allowed())
            }
            Some(reason) => format!("{raw}: {reason}; allowed: {}", self.allowed()),
            None => format!("{raw} is not allowed; allowed: {}", self.allowed()),
        })
    }

    /// Reads a value from the environment or the command line: TOML, except that a
    /// string needs no quotes.
    pub(crate) fn read_bare(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        let takes_toml = match self {
            Self::Boolean | Self::Integer(..) | Self::PowerOfTwo(..) | Self::Tables(_) => true,
            Self::Cpus | Self::CpusOrNone | Self::Seeds | Self::Urls(_) => {
                text.starts_with(['"', '\'', '['])
            }
            Self::Bind
            | Self::Burst
            | Self::Durability
            | Self::Duration(..)
            | Self::Folder
            | Self::Level
            | Self::NodeName
            | Self::Rate
            | Self::Secret(_)
            | Self::Text(_)
            | Self::Word(_)
            | Self::Words => text.starts_with(['"', '\'']),
        };
        let toml = DeValue::parse(text).ok().filter(|_| takes_toml);
        self.read(&toml.map_or_else(
            || Raw::Text(text.to_owned()),
            |toml| Raw::of(toml.get_ref()),
        ))
    }

    /// Reads a value. The error is a reason worth saying, if there is one beyond what is
    /// allowed.
    fn value(self, raw: &Raw) -> Result<Value, Option<String>> {
        match (self, raw) {
            (Self::Boolean, Raw::Boolean(value)) => Ok(Value::Boolean(*value)),
            (Self::Integer(min, max), Raw::Integer(number)) => {
                in_range(*number, min, max).map(Value::Integer).ok_or(None)
            }
            (Self::PowerOfTwo(min, max), Raw::Integer(number)) => in_range(*number, min, max)
                .filter(|number| number.is_power_of_two())
                .map(Value::Integer)
                .ok_or(None),
            (Self::Bind, Raw::Integer(port)) => in_range(*port, 0, u64::from(u16::MAX))
                .and_then(|port| u16::try_from(port).ok())
                .map(|port| Value::Bind(Bind::Port(port)))
                .ok_or(None),
            (Self::Cpus | Self::CpusOrNone, Raw::Integer(_) | Raw::List(_)) => {
                self.value(&Raw::Text(listed(raw).ok_or(None)?))
            }
            (Self::Tables(columns), Raw::List(rows)) => rows_of(columns, rows),
            (Self::Seeds, Raw::List(items)) => list_of(texts_of(items)?, Seed::parse),
            (Self::Urls(port), Raw::List(items)) => {
                list_of(texts_of(items)?, |text| Url::parse(text, Some(port)))
            }
            (_, Raw::Text(text)) => self.value_of_text(text),
            _ => Err(None),
        }
    }

    /// Reads a value that was written as a string.
    fn value_of_text(self, text: &str) -> Result<Value, Option<String>> {
        match self {
            Self::Bind => text.parse().map(Value::Bind).map_err(|()| None),
            Self::Cpus | Self::CpusOrNone => {
                let cpus: CpuList = text.parse().map_err(Some)?;
                if cpus.is_empty() && self == Self::Cpus {
                    return Err(Some("at least one CPU is needed".to_owned()));
                }
                Ok(Value::Cpus(cpus))
            }
            Self::Durability => text.parse().map(Value::Durability).map_err(|()| None),
            Self::Duration(min, max) => {
                let span: Span = text.parse().map_err(|()| None)?;
                let allowed = Span::of_seconds(min).duration()..=Span::of_seconds(max).duration();
                let is_allowed = allowed.contains(&span.duration());
                is_allowed.then_some(Value::Duration(span)).ok_or(None)
            }
            Self::Folder if !text.is_empty() && !text.contains('\0') => {
                Ok(Value::Text(text.to_owned()))
            }
            Self::Word(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Self::Words if !text.is_empty() && !text.contains('\0') => {
                Ok(Value::Text(text.to_owned()))
            }
            Self::Level => text.parse().map(Value::Level).map_err(|_| None),
            Self::Burst => as_written(text.parse::<Burst>()),
            Self::Rate => as_written(text.parse::<Rate>()),
            Self::Text(max) if text.len() <= max && !text.chars().any(char::is_control) => {
                Ok(Value::Text(text.to_owned()))
            }
            Self::Secret(min) if text.len() >= min => Ok(Value::Secret(text.to_owned())),
            Self::Seeds => list_of(text.split(',').map(str::trim), Seed::parse),
            Self::Urls(port) => {
                let texts = text.split(',').map(str::trim);
                list_of(texts, |text| Url::parse(text, Some(port)))
            }
            Self::NodeName if is_node_name(text) => Ok(Value::Text(text.to_owned())),
            _ => Err(None),
        }
    }
}

/// A value in its own form of writing.
fn as_written(read: Result<impl fmt::Display, ()>) -> Result<Value, Option<String>> {
    read.map(|value| Value::Text(value.to_string()))
        .map_err(|()| None)
}

/// The strings of an array.
fn texts_of(items: &[Raw]) -> Result<Vec<&str>, Option<String>> {
    let texts = items.iter().map(|item| match item {
        Raw::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Option<_>>().ok_or(None)
}

/// Texts, each of which can be read.
fn list_of<'a, T>(
    texts: impl IntoIterator<Item = &'a str>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Value, Option<String>> {
    let texts = texts.into_iter().map(|text| {
        read(text).map_err(Some)?;
        Ok(text.to_owned())
    });
    texts.collect::<Result<_, _>>().map(Value::List)
}

/// The rows of an array of tables.
fn rows_of(columns: &'static [Column], rows: &[Raw]) -> Result<Value, Option<String>> {
    let numbered = rows.iter().enumerate();
    let rows = numbered.map(|(index, row)| {
        row_of(columns, row).map_err(|reason| Some(format!("table {}: {reason}", index + 1)))
    });
    rows.collect::<Result<_, _>>().map(Value::Tables)
}

/// One table, with the defaults of what it leaves out.
fn row_of(columns: &'static [Column], row: &Raw) -> Result<BTreeMap<&'static str, Value>, String> {
    let Raw::Table(fields) = row else {
        return Err(format!("{row} is no table"));
    };
    let mut values = BTreeMap::new();
    for (name, raw) in fields {
        let column = columns.iter().find(|column| column.name == name);
        let column = column.ok_or_else(|| format!("unknown field {name}"))?;
        let value = column.kind.read(raw);
        let value = value.map_err(|reason| format!("{name} = {reason}"))?;
        values.insert(column.name, value);
    }
    for column in columns {
        if let Some(default) = column.default {
            values.entry(column.name).or_insert(Value::Integer(default));
        } else if !values.contains_key(column.name) {
            return Err(format!("{} is missing", column.name));
        }
    }
    Ok(values)
}

/// A number if it is in the range.
fn in_range(number: i128, min: u64, max: u64) -> Option<u64> {
    u64::try_from(number)
        .ok()
        .filter(|number| (min..=max).contains(number))
}

/// CPUs given as a number or an array of numbers and strings, in the list notation.
fn listed(raw: &Raw) -> Option<String> {
    match raw {
        Raw::Integer(cpu) => Some(cpu.to_string()),
        Raw::List(items) => {
            let parts: Option<Vec<String>> = items.iter().map(listed).collect();
            parts.map(|parts| parts.join(","))
        }
        Raw::Text(text) => Some(text.clone()),
        Raw::Boolean(_) | Raw::Other(_) | Raw::Table(_) => None,
    }
}

/// `name@host`. The characters are those that neither a topic nor a host name gives a
/// meaning of its own.
fn is_node_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.len() <= 255
        && text.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty()
                && !host.is_empty()
                && name.bytes().all(plain)
                && host
                    .bytes()
                    .all(|byte| plain(byte) || b":[]".contains(&byte))
        })
}

impl Raw {
    /// What a TOML document holds.
    pub(crate) fn of(toml: &DeValue<'_>) -> Self {
        match toml {
            DeValue::Array(items) => {
                Self::List(items.iter().map(|i| Self::of(i.get_ref())).collect())
            }
            DeValue::Boolean(value) => Self::Boolean(*value),
            DeValue::Datetime(_) => Self::Other("a date or time"),
            DeValue::Float(_) => Self::Other("a number with a fraction"),
            DeValue::Integer(number) => Self::Integer(integer(number)),
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Table(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by_key(|(name, _)| name.span().start);
                let fields = fields
                    .into_iter()
                    .map(|(name, value)| (name.get_ref().to_string(), Self::of(value.get_ref())));
                Self::Table(fields.collect())
            }
        }
    }
}

/// The number, or one that is out of every range.
fn integer(number: &DeInteger<'_>) -> i128 {
    i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX)
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(number) => number.fmt(f),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Other(name) => f.write_str(name),
            Self::Table(_) => f.write_str("a table"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl From<&Value> for toml::Value {
    fn from(value: &Value) -> Self {
        match value {
            Value::Bind(Bind::Port(port)) => Self::Integer((*port).into()),
            Value::Bind(Bind::Address(address)) => Self::String(address.to_string()),
            Value::Boolean(value) => Self::Boolean(*value),
            Value::Cpus(cpus) => Self::String(cpus.to_string()),
            Value::Integer(number) => Self::Integer(i64::try_from(*number).unwrap_or(i64::MAX)),
            Value::Level(level) => Self::String(level.as_str().to_ascii_lowercase()),
            Value::List(items) => Self::Array(items.iter().cloned().map(Self::String).collect()),
            Value::Tables(rows) => Self::Array(rows.iter().map(table_of).collect()),
            Value::Durability(durability) => Self::String(durability.to_string()),
            Value::Duration(span) => Self::String(span.to_string()),
            Value::Secret(text) | Value::Text(text) => Self::String(text.clone()),
        }
    }
}

fn table_of(row: &BTreeMap<&'static str, Value>) -> toml::Value {
    let fields = row
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.into()));
    toml::Value::Table(fields.collect())
}

impl fmt::Display for Value {
    /// Writes TOML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        toml::Value::from(self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_on_the_command_line_needs_no_quotes() {
        let bare = Kind::Folder.read_bare("/var/lib/shardmq").unwrap();
        assert_eq!(Kind::Folder.read_bare("\"/var/lib/shardmq\""), Ok(bare));
        assert_eq!(
            Kind::Folder.read_bare("true"),
            Ok(Value::Text("true".to_owned()))
        );
        assert_eq!(
            Kind::Integer(0, 2000).read_bare("1_000"),
            Ok(Value::Integer(1000))
        );
        assert_eq!(
            Kind::Bind.read_bare("[::]:1883").unwrap().to_string(),
            "\"[::]:1883\""
        );
    }

    #[test]
    fn cpus_may_be_a_string_a_number_or_an_array() {
        for text in ["0-2", "\"0-2\"", "[0, 1, 2]", "[\"0-1\", 2]"] {
            assert_eq!(
                Kind::Cpus.read_bare(text).unwrap().to_string(),
                "\"0-2\"",
                "{text}"
            );
        }
        assert_eq!(Kind::Cpus.read_bare("4").unwrap().to_string(), "\"4\"");
    }

    #[test]
    fn only_a_key_that_takes_no_cpus_takes_none() {
        assert!(Kind::CpusOrNone.read_bare("").is_ok());
        assert!(Kind::Cpus.read_bare("").is_err());
    }

    #[test]
    fn the_complaint_names_the_value_and_what_is_allowed() {
        let complaint = Kind::Integer(1, 65535).read(&Raw::Integer(0)).unwrap_err();
        assert_eq!(
            complaint,
            "0 is not allowed; allowed: a whole number from 1 to 65535"
        );
        let complaint = Kind::Boolean.read_bare("yes").unwrap_err();
        assert_eq!(complaint, "\"yes\" is not allowed; allowed: true or false");
        let complaint = Kind::Cpus.read_bare("3-1").unwrap_err();
        assert!(complaint.starts_with("\"3-1\": the range 3-1 runs backwards; allowed: "));
    }

    const TABLES: Kind = Kind::Tables(&[
        Column {
            name: "what",
            kind: Kind::Word(&["this", "that"]),
            default: None,
        },
        Column {
            name: "number",
            kind: Kind::Integer(0, 2),
            default: Some(1),
        },
    ]);

    #[test]
    fn tables_are_read_with_the_defaults_of_what_they_leave_out() {
        let value = TABLES.read_bare("[{ what = \"that\" }, { number = 2, what = 'this' }]");
        let text = value.unwrap().to_string();
        assert_eq!(
            text,
            "[{ number = 1, what = \"that\" }, { number = 2, what = \"this\" }]"
        );
        let again = TABLES.read_bare(&text).unwrap();
        assert_eq!(again.to_string(), text);
        assert_eq!(TABLES.read_bare("[]"), Ok(Value::Tables(Vec::new())));
    }

    #[test]
    fn what_is_wrong_with_a_table_is_said_with_its_number() {
        for (text, complaint) in [
            (
                "[{ what = 'this' }, { number = 1 }]",
                "table 2: what is missing",
            ),
            (
                "[{ what = 'other' }]",
                "table 1: what = \"other\" is not allowed; allowed: this, that",
            ),
            ("[{ x = 1 }]", "table 1: unknown field x"),
            ("[1]", "table 1: 1 is no table"),
        ] {
            let found = TABLES.read_bare(text).unwrap_err();
            assert!(found.contains(complaint), "{found}");
        }
        let found = TABLES.read_bare("1").unwrap_err();
        let complaint = "1 is not allowed; allowed: an array of tables with what, number";
        assert_eq!(found, complaint);
    }

    #[test]
    fn numbers_beyond_every_width_are_out_of_range() {
        let huge = "99999999999999999999999999999999999999999999";
        assert!(Kind::Integer(0, u64::MAX).read_bare(huge).is_err());
        assert!(Kind::Integer(0, 10).read_bare("-1").is_err());
        assert!(Kind::Bind.read_bare("65536").is_err());
    }

    #[test]
    fn only_powers_of_two_are_powers_of_two() {
        assert!(Kind::PowerOfTwo(16, 64).read_bare("32").is_ok());
        assert!(Kind::PowerOfTwo(16, 64).read_bare("33").is_err());
        assert!(Kind::PowerOfTwo(16, 64).read_bare("128").is_err());
    }

    #[test]
    fn a_rate_is_an_amount_in_a_period() {
        for (text, shown) in [
            ("1000/s", "\"1000/s\""),
            ("\"10MB/10s\"", "\"10485760/10s\""),
            ("infinity", "\"infinity\""),
        ] {
            assert_eq!(Kind::Rate.read_bare(text).unwrap().to_string(), shown);
        }
        let complaint = Kind::Rate.read_bare("1000").unwrap_err();
        assert!(
            complaint.ends_with("such as 1000/s or 10MB/10s, or infinity"),
            "{complaint}"
        );
        for (text, shown) in [("10000/60m", "\"10000/3600s\""), ("0/1s", "\"0/s\"")] {
            assert_eq!(Kind::Burst.read_bare(text).unwrap().to_string(), shown);
        }
        let complaint = Kind::Burst.read_bare("infinity").unwrap_err();
        assert!(complaint.ends_with("or 0/s for none"), "{complaint}");
    }

    #[test]
    fn a_duration_is_within_its_bounds() {
        let kind = Kind::Duration(5, 60);
        for (text, shown) in [("5s", "\"5s\""), ("\"60s\"", "\"1m\"")] {
            assert_eq!(kind.read_bare(text).unwrap().to_string(), shown);
        }
        for bad in ["4s", "61s", "4999ms", "60", ""] {
            let complaint = kind.read_bare(bad).unwrap_err();
            assert!(complaint.contains("from 5s to 1m"), "{complaint}");
        }
    }

    #[test]
    fn a_text_needs_no_quotes_and_has_no_control_characters() {
        for (text, value) in [
            ("", ""),
            ("\"\"", ""),
            ("a b", "a b"),
            ("\"7\"", "7"),
            ("7", "7"),
        ] {
            let read = Kind::Text(4).read_bare(text);
            assert_eq!(read, Ok(Value::Text(value.to_owned())), "{text:?}");
        }
        for bad in ["12345", "\"a\\nb\"", "\"\\u0000\""] {
            assert!(Kind::Text(4).read_bare(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_node_name_has_a_name_and_a_host() {
        for good in ["shardmq@127.0.0.1", "a@b", "n-1@host.example", "n@[::1]"] {
            assert!(Kind::NodeName.read_bare(good).is_ok(), "{good}");
        }
        for bad in [
            "", "shardmq", "@host", "name@", "a/b@c", "a@b@c", "a@#", "a b@c",
        ] {
            assert!(Kind::NodeName.read_bare(bad).is_err(), "{bad}");
        }
    }
}
