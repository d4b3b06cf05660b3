//! A text gives back what was stored, and says what is wrong with it.

use crate::tests::{Folder, Running, entry, everything, options, session};
use crate::*;

fn exported(folder: &Folder) -> String {
    let (store, stored) = open(&folder.0, Expect::Existing, options()).unwrap();
    let mut text = Vec::new();
    export(&store, &stored, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn imported(text: &str) -> Result<Folder, String> {
    let folder = Folder::new();
    let (mut store, _) = open(&folder.0, Expect::Any, options()).unwrap();
    import(&mut store, &mut text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(folder)
}

#[test]
fn what_was_exported_can_be_imported() {
    let folder = Folder::new();
    let mut running = Running::new(&folder.0, options());
    running.store(everything());
    running.store(vec![
        Change::Retain {
            message: tests::message("binary", &[0xff, 0, 1]),
            version: 1,
        },
        Change::PutSession {
            session: SessionNumber(30),
            record: Box::new(SessionRecord {
                client_id: "w".into(),
                expiry_s: u32::MAX,
                ends_ms: Some(u64::MAX),
                will: Some(Will {
                    message: tests::message("will", "text, and \"more\"".as_bytes()),
                    delay_s: 5,
                    expiry_s: Some(7),
                    due_ms: Some(10_000),
                }),
                perhaps_sent: 29,
            }),
        },
    ]);
    running.handle.stop().unwrap();
    let text = exported(&folder);
    assert!(text.contains(r#""payload":"text, and \"more\"""#), "{text}");
    assert!(text.contains(r#""ends_ms":"never""#), "{text}");
    let again = exported(&imported(&text).unwrap());
    assert_eq!(again, text);
}

#[test]
fn a_wrong_line_is_named_and_nothing_is_stored() {
    let header = r#"{"shardmq":{"export":1}}"#;
    let session = r#"{"session":{"number":1,"client_id":"c","expiry_s":9}}"#;
    for (lines, complaint) in [
        ("", "there is nothing in it"),
        (session, "line 1: the first line must be"),
        (
            r#"{"shardmq":{"export":2}}"#,
            "line 1: export 2, this version knows 1",
        ),
        ("H\nnonsense", "line 2: expected"),
        (
            "H\n{\"entry\":{\"session\":1,\"number\":2,\"qos\":1}}",
            "line 2: no session 1",
        ),
        ("H\nS\nS", "line 3: number 1 is used twice"),
        (
            r#"H
S
{"entry":{"session":1,"number":2,"qos":3,"message":{"topic":"a","qos":1}}}"#,
            "line 3: a QoS is 0, 1 or 2",
        ),
        (
            r#"H
{"retained":{"topic":"a/+","qos":1,"payload":"x"}}"#,
            "line 2: no client could publish",
        ),
        (
            r#"H
{"retained":{"topic":"a","qos":1,"properties_base64":"/w=="}}"#,
            "line 2: no client could publish",
        ),
        (
            r#"H
S
{"subscription":{"session":1,"filter":"a/#/b","qos":1}}"#,
            "line 3: \"a/#/b\" is no topic filter",
        ),
        (
            r#"H
S
{"entry":{"session":1,"number":2,"qos":1,"shared":9}}"#,
            "line 3: no message 9 comes before",
        ),
    ] {
        let text = lines.replace('H', header).replace('S', session);
        let error = imported(&text).map(drop).unwrap_err();
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn everything_is_counted() {
    let folder = Folder::new();
    let mut running = Running::new(&folder.0, options());
    running.store(vec![
        session(1),
        session(2),
        entry(1, 3),
        entry(2, 4),
        entry(2, 5),
    ]);
    running.handle.stop().unwrap();
    let counts = Counts::of(&tests::stored(&folder.0));
    assert_eq!((counts.sessions, counts.entries, counts.wills), (2, 3, 0));
}
