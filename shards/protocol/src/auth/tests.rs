use super::*;
use crate::wire::UserProperties;

/// Asks as often as the first byte of the first data says, then lets everybody in who does not
/// say "no"; what it sends is what it got.
#[derive(Debug)]
struct Echo;

#[derive(Debug)]
struct Rounds(Option<u8>);

impl Mechanism for Echo {
    fn name(&self) -> &str {
        "echo"
    }

    fn begin(&self) -> Box<dyn Exchange> {
        Box::new(Rounds(None))
    }
}

impl Exchange for Rounds {
    fn answer(&mut self, data: Option<&[u8]>) -> Answer {
        let first = || data.and_then(|data| data.first().copied()).unwrap_or(0);
        let left = self.0.unwrap_or_else(first);
        match (data, left) {
            (Some(b"no"), _) => Answer::Failure(ReasonCode::BAD_USER_NAME_OR_PASSWORD),
            (Some(b"odd"), _) => Answer::Failure(ReasonCode::SUCCESS),
            (_, 0) => Answer::Success(data.map(<[u8]>::to_vec)),
            _ => {
                self.0 = Some(left - 1);
                Answer::Continue(data.map(<[u8]>::to_vec))
            }
        }
    }
}

fn begin(data: Option<&[u8]>) -> (Authentication, Step) {
    Authentication::begin(Arc::new(Echo), data)
}

fn auth<'a>(reason: ReasonCode, method: &'a str, data: &'a [u8]) -> Auth<'a> {
    Auth {
        reason,
        method: Some(method),
        data: Some(data),
        reason_string: None,
        user_properties: UserProperties::default(),
    }
}

fn go_on(data: &[u8]) -> Auth<'_> {
    auth(ReasonCode::CONTINUE_AUTHENTICATION, "echo", data)
}

fn again(data: &[u8]) -> Auth<'_> {
    auth(ReasonCode::RE_AUTHENTICATE, "echo", data)
}

fn bytes(data: &[u8]) -> Option<Vec<u8>> {
    Some(data.to_vec())
}

#[test]
fn connect_alone_may_be_enough() {
    assert_eq!(begin(None).1, Step::Accept(None));
    assert_eq!(begin(Some(b"\0")).1, Step::Accept(bytes(b"\0")));
}

#[test]
fn a_client_is_asked_until_the_mechanism_knows_enough() {
    let (mut client, step) = begin(Some(b"\x02"));
    assert_eq!(client.method(), "echo");
    assert_eq!(step, Step::Ask(bytes(b"\x02")));
    assert_eq!(client.receive(&go_on(b"a")), Step::Ask(bytes(b"a")));
    assert_eq!(client.receive(&go_on(b"b")), Step::Accept(bytes(b"b")));
}

#[test]
fn a_client_that_is_connected_authenticates_again_and_again() {
    let (mut client, _) = begin(None);
    for _ in 0..3 {
        assert_eq!(client.receive(&again(b"\x01")), Step::Ask(bytes(b"\x01")));
        assert_eq!(client.receive(&go_on(b"x")), Step::Confirm(bytes(b"x")));
    }
    assert_eq!(client.receive(&again(b"\0")), Step::Confirm(bytes(b"\0")));
}

#[test]
fn a_failure_is_told_by_the_packet_of_its_time() {
    let refused = Step::Refuse(ReasonCode::BAD_USER_NAME_OR_PASSWORD);
    assert_eq!(begin(Some(b"no")).1, refused);
    let (mut client, _) = begin(Some(b"\x01"));
    assert_eq!(client.receive(&go_on(b"no")), refused);
    let (mut client, _) = begin(None);
    // DISCONNECT has no 0x86.
    let ended = Step::Disconnect(ReasonCode::NOT_AUTHORIZED);
    assert_eq!(client.receive(&again(b"no")), ended);
}

#[test]
fn a_failure_is_never_told_as_a_success() {
    let refused = Step::Refuse(ReasonCode::NOT_AUTHORIZED);
    assert_eq!(begin(Some(b"odd")).1, refused);
}

#[test]
fn another_method_than_that_of_connect_fails() {
    let other = auth(ReasonCode::CONTINUE_AUTHENTICATION, "other", b"");
    let bad = ReasonCode::BAD_AUTHENTICATION_METHOD;
    let (mut client, _) = begin(Some(b"\x01"));
    assert_eq!(client.receive(&other), Step::Refuse(bad));
    let (mut client, _) = begin(None);
    let other = auth(ReasonCode::RE_AUTHENTICATE, "Echo", b"");
    assert_eq!(client.receive(&other), Step::Disconnect(bad));
    let (mut client, _) = begin(Some(b"\x01"));
    let none = Auth {
        method: None,
        ..go_on(b"")
    };
    assert_eq!(client.receive(&none), Step::Refuse(bad));
}

#[test]
fn auth_out_of_turn_breaks_the_protocol() {
    let broken = ReasonCode::PROTOCOL_ERROR;
    let (mut client, _) = begin(Some(b"\x01"));
    assert_eq!(client.receive(&again(b"")), Step::Refuse(broken));
    let (mut client, _) = begin(None);
    assert_eq!(client.receive(&go_on(b"")), Step::Disconnect(broken));
    let (mut client, _) = begin(None);
    client.receive(&again(b"\x01"));
    assert_eq!(client.receive(&again(b"")), Step::Disconnect(broken));
}

#[test]
fn nobody_is_asked_more_often_than_the_bound_in_one_exchange() {
    let (mut client, step) = begin(Some(b"\xff"));
    assert!(matches!(step, Step::Ask(_)));
    for _ in 1..ROUNDS_MAX {
        assert!(matches!(client.receive(&go_on(b"x")), Step::Ask(_)));
    }
    let refused = Step::Refuse(ReasonCode::NOT_AUTHORIZED);
    assert_eq!(client.receive(&go_on(b"x")), refused);
    let (mut client, _) = begin(Some(&[ROUNDS_MAX]));
    for _ in 1..ROUNDS_MAX {
        assert!(matches!(client.receive(&go_on(b"x")), Step::Ask(_)));
    }
    assert_eq!(client.receive(&go_on(b"x")), Step::Accept(bytes(b"x")));
    assert!(matches!(
        client.receive(&again(&[ROUNDS_MAX])),
        Step::Ask(_)
    ));
}
