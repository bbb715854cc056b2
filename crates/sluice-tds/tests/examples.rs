//! The examples of MS-TDS, chapter 4, as the specification prints them.

mod support;

use sluice_tds::*;
use support::{bytes, packets, payload, read_requests, read_tokens, response};

/// 4.16: LOGIN7 that recovers a session.
const RECOVERY: &str = "
    10 01 01 0D 00 00 01 00 05 01 00 00 04 00 00 74 00 10 00 00 00 00 00 07 00 01 00 00 00 00 00 00
    E0 03 00 10 00 00 00 00 09 04 00 00 5E 00 00 00 5E 00 02 00 62 00 08 00 72 00 07 00 80 00 00 00
    80 00 04 00 84 00 04 00 8C 00 00 00 8C 00 06 00 00 50 8B E2 B7 8F 98 00 00 00 98 00 00 00 98 00
    00 00 00 00 00 00 73 00 61 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 4F 00 53 00 51 00
    4C 00 2D 00 33 00 32 00 98 00 00 00 4F 00 44 00 42 00 43 00 74 00 65 00 6D 00 70 00 64 00 62 00
    01 67 00 00 00 56 00 00 00 06 6D 00 61 00 73 00 74 00 65 00 72 00 05 09 04 D0 00 34 0A 75 00 73
    00 5F 00 65 00 6E 00 67 00 6C 00 69 00 73 00 68 00 00 09 00 60 81 14 FF E7 FF FF 00 02 02 07 01
    04 01 00 05 04 FF FF FF FF 06 01 00 07 01 02 08 08 00 00 00 00 00 00 00 00 09 04 FF FF FF FF 09
    00 00 00 00 00 00 09 04 28 23 00 00 FF";

#[test]
fn a_login_that_recovers_a_session() {
    let login = Login7::parse(&payload(&bytes(RECOVERY))).expect("sound");
    assert_eq!(login.tds_version, TdsVersion::V7_4);
    assert_eq!((&login.user_name, &login.app_name), (&Text::from("sa"), &Text::from("OSQL-32")));
    assert_eq!((&login.library_name, &login.database), (&Text::from("ODBC"), &Text::from("tempdb")));
    let Some([Feature::SessionRecovery(Some(recovery))]) = login.features.as_deref() else {
        panic!("{:?}", login.features)
    };
    assert_eq!(recovery.initial.database, "master");
    assert_eq!(
        recovery.initial.collation.map(|collation| (collation.locale(), collation.sort_id())),
        Some((0x409, 52))
    );
    assert_eq!(recovery.initial.language, "us_english");
    assert_eq!(recovery.initial.states.iter().map(|state| state.id).collect::<Vec<_>>(), [0, 2, 4, 5, 6, 7, 8, 9]);
    assert_eq!(recovery.current.states, [SessionStateEntry { id: 9, value: vec![0x28, 0x23, 0, 0] }]);
    // Written again it is the same, byte for byte.
    let mut again = Vec::new();
    login.write(&mut again).expect("fits");
    assert_eq!(packets(PacketKind::Login7, Status::default(), &again)[8..], bytes(RECOVERY)[8..]);
}

/// 4.8: a call of `foo3` with a default.
#[test]
fn a_call() {
    let wire = bytes(
        "03 01 00 2F 00 00 01 00 16 00 00 00 12 00 00 00 02 00 00 00 00 00 00 00 00 01 00 00 00 00 04 00
         66 00 6F 00 6F 00 33 00 00 00 00 02 26 02 00",
    );
    let (found, error) = read_requests(Negotiated::default(), &[&wire]);
    assert_eq!(error, None);
    assert_eq!(
        found.events[1..],
        [
            "Headers(AllHeaders { headers: [Transaction { descriptor: 72057594037927936, outstanding: 0 }] })",
            "Call(Call { procedure: Name(\"foo3\"), options: 0, enclave: [] })",
            "Parameter(Parameter { name: \"\", status: 2, kind: Scalar(Nullable(Int, 2)) })",
            "Value { column: 0, piece: Null }",
            "ParameterEnd(None)",
            "End(Status(1))",
        ]
    );
    assert_eq!(found.raw, payload(&wire));
}

/// 4.14: a call of `foo` with a table.
#[test]
fn a_call_with_a_table() {
    let wire = bytes(
        "03 01 00 52 00 00 01 00 16 00 00 00 12 00 00 00 02 00 00 00 00 00 00 00 00 00 00 00 00 01 03 00
         66 00 6F 00 6F 00 00 00 00 00 F3 00 03 64 00 62 00 6F 00 07 74 00 76 00 70 00 74 00 79 00 70 00
         65 00 01 00 00 00 00 00 00 00 26 01 00 00 01 01 02 00",
    );
    let (found, error) = read_requests(Negotiated::default(), &[&wire]);
    assert_eq!(error, None);
    assert!(found.events[3].contains("schema: \"dbo\", name: \"tvptype\""), "{}", found.events[3]);
    assert_eq!(
        found.events[4..],
        ["Row", "Value { column: 0, piece: Whole([2]) }", "RowEnd", "TableEnd", "ParameterEnd(None)", "End(Status(1))"]
    );
}

/// 4.12: one row of one `bit`.
#[test]
fn a_bulk_load() {
    let wire = bytes(
        "07 01 00 26 00 00 01 00 81 01 00 00 00 00 00 05 00 32 02 63 00 31 00 D1 00 FD 00 00 00 00 00 00
         00 00 00 00 00 00",
    );
    let (found, error) = read_requests(Negotiated::default(), &[&wire]);
    assert_eq!(error, None);
    assert_eq!(
        found.events[2..6],
        [
            "Bulk(Row(Row))",
            "Bulk(Value { column: 0, piece: Whole([0]) })",
            "Bulk(End)",
            "Bulk(Token(Done(Done { kind: Done, status: 0, command: 0, rows: 0 })))",
        ]
    );
}

/// 4.15: a sparse column, in rows with and without compression (shortened by
/// rows that are like others).
#[test]
fn rows_with_a_sparse_column() {
    let answer = bytes(
        "81 02 00 00 00 00 00 09 00 26 04 02 69 00 64 00 00 00 00 00 0B 04 F1 00 11 73 00 70 00 61 00 72
         00 73 00 65 00 50 00 72 00 6F 00 70 00 65 00 72 00 74 00 79 00 53 00 65 00 74 00 D1 04 02 00 00
         00 FE FF FF FF FF FF FF FF 3E 00 00 00 3C 00 73 00 70 00 61 00 72 00 73 00 65 00 50 00 72 00 6F
         00 70 00 31 00 3E 00 31 00 30 00 30 00 30 00 3C 00 2F 00 73 00 70 00 61 00 72 00 73 00 65 00 50
         00 72 00 6F 00 70 00 31 00 3E 00 00 00 00 00 D2 02 04 04 00 00 00 FD 10 00 C1 00 0A 00 00 00 00
         00 00 00",
    );
    let (found, error) = read_tokens(response(Negotiated::default()), &[&answer], true);
    assert_eq!(error, None);
    assert!(found.events[4].starts_with("data 3c0073007000610072007300650050007200"), "{}", found.events[4]);
    let mut events = found.events;
    events.remove(4);
    assert_eq!(
        events[1..],
        [
            "Row(Row)",
            "Value { column: 0, piece: Whole([2, 0, 0, 0]) }",
            "Value { column: 1, piece: Start { total: None } }",
            "Value { column: 1, piece: End }",
            "End",
            "Row(NullCompressed)",
            "Value { column: 0, piece: Whole([4, 0, 0, 0]) }",
            "Value { column: 1, piece: Null }",
            "End",
            "Token(Done(Done { kind: Done, status: 16, command: 193, rows: 10 }))",
        ]
    );
}

/// 2.2.6.4, Login Data Validation Rules.
#[test]
fn passwords_are_hidden_as_drivers_hide_them() {
    let login = Login7 { password: Secret::from_text("a"), ..Login7::default() };
    let mut wire = Vec::new();
    login.write(&mut wire).expect("fits");
    // 0x61 swapped is 0x16, XOR 0xA5 is 0xB3; 0x00 is 0xA5.
    assert!(wire.windows(2).any(|pair| pair == [0xB3, 0xA5]));
    assert!(!format!("{login:?}").contains("61"), "{login:?}");
    assert_eq!(Login7::parse(&wire), Ok(login));
}
