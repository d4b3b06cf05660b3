use super::*;

/// Table 2-4 of the specification.
const TABLE: &str = "
    1 Byte: PUBLISH WILL
    2 Four: PUBLISH WILL
    3 Text: PUBLISH WILL
    8 Text: PUBLISH WILL
    9 Binary: PUBLISH WILL
    11 Variable: PUBLISH SUBSCRIBE
    17 Four: CONNECT CONNACK DISCONNECT
    18 Text: CONNACK
    19 Two: CONNACK
    21 Text: CONNECT CONNACK AUTH
    22 Binary: CONNECT CONNACK AUTH
    23 Byte: CONNECT
    24 Four: WILL
    25 Byte: CONNECT
    26 Text: CONNACK
    28 Text: CONNACK DISCONNECT
    31 Text: CONNACK ACK SUBACK UNSUBACK DISCONNECT AUTH
    33 Two: CONNECT CONNACK
    34 Two: CONNECT CONNACK
    35 Two: PUBLISH
    36 Byte: CONNACK
    37 Byte: CONNACK
    38 Pair: CONNECT CONNACK PUBLISH WILL ACK SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK DISCONNECT AUTH
    39 Four: CONNECT CONNACK
    40 Byte: CONNACK
    41 Byte: CONNACK
    42 Byte: CONNACK
";

const CARRIERS: [(&str, Carrier); 11] = [
    ("CONNECT", Carrier::CONNECT),
    ("CONNACK", Carrier::CONNACK),
    ("PUBLISH", Carrier::PUBLISH),
    ("WILL", Carrier::WILL),
    ("ACK", Carrier::ACK),
    ("SUBSCRIBE", Carrier::SUBSCRIBE),
    ("SUBACK", Carrier::SUBACK),
    ("UNSUBSCRIBE", Carrier::UNSUBSCRIBE),
    ("UNSUBACK", Carrier::UNSUBACK),
    ("DISCONNECT", Carrier::DISCONNECT),
    ("AUTH", Carrier::AUTH),
];

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Binary => "Binary",
        Kind::Flag => "Byte",
        Kind::Four => "Four",
        Kind::Pair => "Pair",
        Kind::Text => "Text",
        Kind::Two => "Two",
        Kind::Variable => "Variable",
    }
}

#[test]
fn the_table_is_the_one_of_the_specification() {
    let mut table = String::from("\n");
    for id in 0..=u8::MAX {
        let Some(row) = row(id) else { continue };
        let carriers: Vec<&str> = CARRIERS
            .iter()
            .filter(|(_, carrier)| row.carriers.meets(*carrier))
            .map(|(name, _)| *name)
            .collect();
        let kind = kind_name(row.kind);
        table += &format!("    {id} {kind}: {}\n", carriers.join(" "));
    }
    assert_eq!(table, TABLE);
}

#[test]
fn no_carrier_meets_another() {
    for (index, (_, carrier)) in CARRIERS.iter().enumerate() {
        let met: Vec<usize> = (0..CARRIERS.len())
            .filter(|other| carrier.meets(CARRIERS[*other].1))
            .collect();
        assert_eq!(met, [index]);
    }
}
