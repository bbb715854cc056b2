//! What peers do that mean no good, and what drivers do that the specification
//! does not say.

mod support;

use std::sync::Arc;

use sluice_tds::*;
use support::{bytes, packets, read_requests, read_tokens, response};

fn int(name: &str) -> Column {
    Column {
        user_type: 0,
        flags: 0,
        info: TypeInfo::Fixed(FixedType::Int),
        table: Vec::new(),
        crypto: None,
        name: Text::from(name),
    }
}

fn with(info: TypeInfo) -> Column {
    Column { info, ..int("c") }
}

fn columns(columns: Vec<Column>) -> Vec<u8> {
    let mut out = Vec::new();
    let token = Token::ColMetadata(Arc::new(ColMetadata { keys: Vec::new(), columns }));
    token.write(&Negotiated::default(), &mut out).expect("fits");
    out
}

fn error(payload: &[u8]) -> String {
    let (_, error) = read_tokens(response(Negotiated::default()), &[payload], false);
    error.expect("an error").to_string()
}

fn varchar_max() -> TypeInfo {
    TypeInfo::Char { kind: CharType::NVarChar, size: TypeInfo::MAX, collation: Collation::default() }
}

#[test]
fn tokens_that_are_not_known_end_it() {
    assert_eq!(error(&[0x78]), "token at byte 1 is 120 (0x78): no token of TDS 7.2 to 8.0 that may stand here");
    assert_eq!(error(&[0x00]), "token at byte 1 is 0 (0x0): no token of TDS 7.2 to 8.0 that may stand here");
}

#[test]
fn rows_without_columns_end_it() {
    assert_eq!(error(&[0xD1]), "token at byte 1 is 209 (0xd1): no columns");
    assert_eq!(error(&[0xD3, 7, 0]), "ALTROW.Id at byte 3 is 7 (0x7): no ALTMETADATA has this id");
    // The columns of one statement are not those of the next.
    let mut answer = columns(vec![int("a")]);
    answer.extend(bytes("FD 01 00 C1 00 00 00 00 00 00 00 00 00 D1"));
    assert!(error(&answer).ends_with("(0xd1): no columns"));
}

#[test]
fn a_cursor_has_the_columns_that_its_owner_remembers() {
    let known = ColMetadata { keys: Vec::new(), columns: vec![int("a")] };
    let mut tokens = response(Negotiated::default());
    tokens.feed(&bytes("81 FF FF D1 01 00 00 00"));
    assert!(matches!(tokens.pull(), Ok(Some(Item { event: Event::Token(Token::NoMetadata), .. }))));
    tokens.assume_columns(&known);
    assert!(matches!(tokens.pull(), Ok(Some(Item { event: Event::Row(RowKind::Row), .. }))));
    assert!(matches!(
        tokens.pull(),
        Ok(Some(Item { event: Event::Value { column: 0, piece: Piece::Whole([1, 0, 0, 0]) }, .. }))
    ));
}

#[test]
fn lengths_that_a_type_does_not_have_end_it() {
    let mut answer = columns(vec![with(TypeInfo::Nullable(NullableType::Int, 4))]);
    answer.extend([0xD1, 8]);
    assert!(error(&answer).ends_with("is 8 (0x8): no length that this type has"));
    let narrow = TypeInfo::Char { kind: CharType::VarChar, size: 10, collation: Collation::default() };
    let mut answer = columns(vec![with(narrow)]);
    answer.extend([0xD1, 11, 0]);
    assert!(error(&answer).ends_with("is 11 (0xb): more than its type declares"));
    let wide = TypeInfo::Char { kind: CharType::NVarChar, size: 10, collation: Collation::default() };
    let mut answer = columns(vec![with(wide)]);
    answer.extend([0xD1, 3, 0]);
    assert!(error(&answer).ends_with("is 3 (0x3): UTF-16 has an even number of bytes"));
}

#[test]
fn a_large_value_is_as_long_as_was_said() {
    let head = |total: u64| {
        let mut answer = columns(vec![with(varchar_max())]);
        answer.push(0xD1);
        answer.extend(total.to_le_bytes());
        answer
    };
    let mut short = head(4);
    short.extend(bytes("02 00 00 00 41 00 00 00 00 00"));
    assert!(error(&short).ends_with("is 2 (0x2): chunks are together as long as was said before them"));
    let mut long = head(2);
    long.extend(bytes("04 00 00 00 41 00 42 00"));
    assert!(error(&long).ends_with("is 4 (0x4): chunks are together as long as was said before them"));
    let mut odd = head(u64::MAX - 1);
    odd.extend(bytes("01 00 00 00 41 00 00 00 00"));
    assert!(error(&odd).ends_with("is 1 (0x1): UTF-16 has an even number of bytes"));
}

#[test]
fn claims_do_not_cost_memory() {
    let limits = Limits { unit: 1000, columns: 10, ..Limits::default() };
    let error = |payload: &[u8]| {
        let tokens = Tokens::response(limits.clone(), Negotiated::default());
        read_tokens(tokens, &[payload], false).1.map(|error| error.to_string())
    };
    // SESSIONSTATE of 4 GiB.
    let claim = "SESSIONSTATE.Length at byte 5 is 4294967300, over the limit of 1000";
    assert_eq!(error(&[0xE4, 0xFF, 0xFF, 0xFF, 0xFF]).as_deref(), Some(claim));
    // COLMETADATA of 11 columns.
    assert_eq!(error(&[0x81, 11, 0]).as_deref(), Some("COLMETADATA.Count at byte 3 is 11, over the limit of 10"));
    // sql_variant of 1 GiB.
    let mut answer = columns(vec![with(TypeInfo::Variant(8009))]);
    answer.extend([0xD1, 0, 0, 0, 0x40]);
    assert!(error(&answer).is_some_and(|error| error.ends_with("is 1073741824, over the limit of 8032")));
}

#[test]
fn totals_are_bounded() {
    let limits = Limits { columns: 4, ..Limits::default() };
    let column = AltColumn {
        operator: 0x4D,
        operand: 1,
        user_type: 0,
        flags: 0,
        info: TypeInfo::Fixed(FixedType::Int),
        table: Vec::new(),
        name: Text::default(),
    };
    let mut answer = columns(vec![int("a")]);
    for id in 0..3 {
        let totals = AltMetadata { id, by: vec![1], columns: vec![column.clone(); 2] };
        Token::AltMetadata(Arc::new(totals)).write(&Negotiated::default(), &mut answer).expect("fits");
    }
    let (found, error) = read_tokens(Tokens::response(limits, Negotiated::default()), &[&answer], false);
    assert_eq!(found.events.len(), 3);
    assert!(matches!(error, Some(WireError::TooLarge { field: "ALTMETADATA.Count", value: 6, limit: 4, .. })));
}

/// A gigabyte passes through what holds a few kilobytes.
#[test]
fn large_values_stream() {
    let mut tokens = response(Negotiated::default());
    tokens.feed(&columns(vec![with(varchar_max())]));
    tokens.feed(&bytes("D1 FE FF FF FF FF FF FF FF"));
    while tokens.pull().expect("sound").is_some() {}
    let chunk = [[0x00, 0x80, 0, 0].as_slice(), &[0x41; 0x8000]].concat();
    let mut seen = 0;
    for _ in 0..1024 {
        tokens.feed(&chunk);
        while let Some(item) = tokens.pull().expect("sound") {
            assert!(item.raw.len() <= chunk.len());
            if let Event::Value { piece: Piece::Data(data), .. } = item.event {
                seen += data.len();
            }
        }
    }
    assert_eq!(seen, 1024 * 0x8000);
    tokens.feed(&[0; 4]);
    tokens.end();
    assert!(matches!(
        tokens.pull(),
        Ok(Some(Item { event: Event::Value { piece: Piece::End, .. }, raw: [0, 0, 0, 0] }))
    ));
    assert!(matches!(tokens.pull(), Ok(Some(Item { event: Event::End, .. }))));
    assert_eq!(tokens.pull(), Ok(None));
}

/// A byte at a time costs no more than all at once: columns that were read are
/// not read again.
#[test]
fn trickled_columns_are_read_once() {
    let answer = columns((0..4000).map(|_| int("a_column_with_a_name")).collect());
    let mut tokens = response(Negotiated::default());
    let mut read = 0;
    for byte in &answer {
        tokens.feed(std::slice::from_ref(byte));
        if let Some(Item { event: Event::Token(Token::ColMetadata(columns)), raw }) = tokens.pull().expect("sound") {
            assert_eq!(raw, answer);
            read = columns.columns.len();
        }
    }
    assert_eq!(read, 4000);
}

#[test]
fn acknowledgements_change_how_the_rest_reads() {
    let ack = |id, data: &[u8]| FeatureAck { id, data: data.to_vec() };
    let acks = vec![ack(FeatureId::COLUMN_ENCRYPTION, &[2, 0]), ack(FeatureId::DATA_CLASSIFICATION, &[2, 1])];
    let negotiated = Negotiated { column_encryption: Some(2), data_classification: Some(2) };
    let mut answer = Vec::new();
    Token::FeatureExtAck(acks).write(&Negotiated::default(), &mut answer).expect("fits");
    let classification = DataClassification { rank: Some(10), ..DataClassification::default() };
    Token::DataClassification(classification.clone()).write(&negotiated, &mut answer).expect("fits");
    let mut tokens = response(Negotiated::default());
    tokens.feed(&answer);
    tokens.pull().expect("sound").expect("acknowledgements");
    assert_eq!(tokens.negotiated(), negotiated);
    let item = tokens.pull().expect("sound").expect("labels");
    assert_eq!(item.event, Event::Token(Token::DataClassification(classification)));
}

#[test]
fn a_feature_is_acknowledged_once() {
    assert_eq!(
        error(&bytes("AE 0A 01 00 00 00 01 0A 01 00 00 00 00 FF")),
        "FEATUREEXTACK.FeatureId at byte 8 is 10 (0xa): a feature comes once"
    );
}

/// Some drivers end a bulk load with a count of 4 bytes; the message's end says so.
#[test]
fn a_bulk_load_may_end_with_a_short_count() {
    let payload = bytes("81 01 00 00 00 00 00 05 00 32 02 63 00 31 00 D1 00 FD 00 00 00 00 00 00 00 00");
    let wire = packets(PacketKind::BulkLoad, Status::default(), &payload);
    let (found, error) = read_requests(Negotiated::default(), &[&wire]);
    assert_eq!((found.raw, error), (payload, None));
}

#[test]
fn a_bulk_load_has_rows_alone() {
    let wire = packets(PacketKind::BulkLoad, Status::default(), &[0xAA]);
    let (_, error) = read_requests(Negotiated::default(), &[&wire]);
    assert!(error.is_some_and(|error| error.to_string().contains("COLMETADATA, ROW and DONE alone")));
}

#[test]
fn an_ignored_message_may_end_anywhere() {
    let (mut wire, mut framer) = (Vec::new(), Framer::new(PacketKind::Rpc, Status::default(), PacketSize::MIN));
    framer.write(&bytes("16 00 00 00 12 00 00 00 02 00"), &mut wire);
    framer.abandon(&mut wire);
    wire.extend(packets(PacketKind::Attention, Status::default(), &[]));
    let (found, error) = read_requests(Negotiated::default(), &[&wire]);
    assert_eq!(error, None);
    assert_eq!(found.events[1], "End(Status(3))");
    assert_eq!(found.events[3..], ["Attention", "End(Status(1))"]);
}

#[test]
fn messages_are_bounded() {
    let attention = packets(PacketKind::Attention, Status::default(), &[1]);
    let (_, error) = read_requests(Negotiated::default(), &[&attention]);
    assert_eq!(error.map(|error| error.to_string()).as_deref(), Some("Attention at byte 0 is 1, over the limit of 0"));
    let login = packets(PacketKind::Login7, Status::default(), &vec![0; 128 * 1024]);
    let (_, error) = read_requests(Negotiated::default(), &[&login]);
    assert!(matches!(error, Some(WireError::TooLarge { field: "LOGIN7", limit: 131_071, .. })));
    let answer = packets(PacketKind::Response, Status::default(), &[]);
    let (_, error) = read_requests(Negotiated::default(), &[&answer]);
    assert!(error.is_some_and(|error| error.to_string().ends_with("clients do not answer")));
}

#[test]
fn parameters_are_judged() {
    let head = "16 00 00 00 12 00 00 00 02 00 00 00 00 00 00 00 00 00 00 00 00 01 FF FF 0A 00 00 00";
    let error = |parameter: &str| {
        let payload = [bytes(head), bytes(parameter)].concat();
        let wire = packets(PacketKind::Rpc, Status::default(), &payload);
        read_requests(Negotiated::default(), &[&wire]).1.expect("an error").to_string()
    };
    assert_eq!(error("FD"), "RPC.ParamMetaData at byte 29 is 253, over the limit of 128");
    assert_eq!(error("00 01 F3"), "RPC.StatusFlags at byte 31 is 1 (0x1): a table is no output, default or ciphertext");
    assert_eq!(error("00 00 F2"), "TYPE_INFO at byte 31 is 242 (0xf2): no type of TDS 7.2 to 8.0 that may stand here");
    assert_eq!(error("00 00 26 04 04 01 00"), "value at byte 33: 2 more bytes were expected");
}

#[test]
fn a_trailing_separator_is_ignored() {
    let payload = bytes("04 00 00 00 FF FF 0A 00 00 00 FF");
    let wire = packets(PacketKind::Rpc, Status::default(), &payload);
    let (found, error) = read_requests(Negotiated::default(), &[&wire]);
    assert_eq!((found.raw, error), (payload, None));
    assert_eq!(found.events[3..], ["NextCall { execute: true }", "End(Status(1))"]);
}

#[test]
fn options_before_login_are_judged() {
    let error = |digits: &str| PreLogin::parse(&bytes(digits)).expect_err("an error").to_string();
    assert_eq!(error("FF"), "PRELOGIN.PL_OPTION_TOKEN at byte 1 is 255 (0xff): VERSION (0) comes first");
    assert_eq!(error("01 00 06 00 01 FF 00"), "PRELOGIN.PL_OPTION_TOKEN at byte 1 is 1 (0x1): VERSION (0) comes first");
    assert_eq!(
        error("00 00 0B 00 06 00 00 0B 00 06 FF 00 00 00 00 00 00"),
        "PRELOGIN.PL_OPTION_TOKEN at byte 6 is 0 (0x0): an option comes once"
    );
    assert_eq!(
        error("00 00 06 00 05 FF 00 00 00 00 00"),
        "PRELOGIN.PL_OPTION_LENGTH at byte 5 is 5 (0x5): no length that this option has"
    );
}

#[test]
fn logins_are_judged() {
    let mut wire = Vec::new();
    Login7::default().write(&mut wire).expect("fits");
    let error = |at: usize, byte: u8| {
        let mut wire = wire.clone();
        wire[at] = byte;
        Login7::parse(&wire).expect_err("an error").to_string()
    };
    // Version 7.1, and a host name of 256 characters.
    assert_eq!(
        error(7, 0x71),
        "LOGIN7.TDSVersion at byte 8 is 1895825412 (0x71000004): only TDS 7.2 to 7.4 and 8.0 are read"
    );
    assert_eq!(error(39, 1), "LOGIN7.HostName at byte 40 is 256, over the limit of 128");
    let long = Login7 { user_name: Text::from_units(vec![65; 129]), ..Login7::default() };
    assert_eq!(
        long.write(&mut Vec::new()).expect_err("too long").to_string(),
        "LOGIN7.UserName would be 129 long; there is room for 128"
    );
}

#[test]
fn redirects_are_judged() {
    let route = |protocol: u8, port: u8| {
        let mut token = bytes("E3 0F 00 14 0B 00 00 00 00 03 00 61 00 2E 00 62 00 00 00");
        token[1] = u8::try_from(token.len() - 3).expect("short");
        (token[6], token[7]) = (protocol, port);
        token
    };
    let (found, error_) = read_tokens(response(Negotiated::default()), &[&route(0, 5)], true);
    assert_eq!(error_, None);
    assert_eq!(found.events, ["Token(EnvChange(Routing(Routing { port: 5, server: \"a.b\", database: None })))"]);
    assert!(error(&route(1, 5)).starts_with("ENVCHANGE.Protocol"));
    assert!(error(&route(0, 0)).starts_with("ENVCHANGE.ProtocolProperty"));
}

/// Neither the events of a login nor what holds its bytes print a password.
#[test]
fn secrets_are_not_printed() {
    let password = "Correct-Horse-7";
    let login = Login7 {
        password: Secret::from_text(password),
        new_password: Secret::from_text(password),
        sspi: Secret::from_text(password),
        features: Some(vec![Feature::FedAuth(FedAuth::SecurityToken {
            echo: true,
            token: Secret::from_text(password),
            nonce: None,
        })]),
        ..Login7::default()
    };
    let mut payload = Vec::new();
    login.write(&mut payload).expect("fits");
    let wire = packets(PacketKind::Login7, Status::default(), &payload);
    let (mut deframer, mut requests) = (Deframer::default(), Requests::new(Limits::default()));
    let mut printed = format!("{login:?}");
    let mut input = wire.as_slice();
    while let Some(frame) = deframer.read(&mut input).expect("sound") {
        printed += &format!("{frame:?}");
        requests.feed(&frame).expect("sound");
        printed += &format!("{requests:?}");
        while let Some(item) = requests.pull().expect("sound") {
            printed += &format!("{item:?}");
        }
    }
    let hidden = payload.windows(8).take(200).map(|bytes| format!("{bytes:?}").replace(['[', ']'], ""));
    assert!(hidden.into_iter().all(|bytes| !printed.contains(&bytes)), "{printed}");
    assert!(!printed.contains(password) && !printed.contains("67, 0, 111"), "{printed}");
}

#[test]
fn variants_say_what_is_in_them() {
    let int = bytes("38 00 2A 00 00 00");
    let variant = Variant::parse(&int).expect("sound");
    assert_eq!((&variant.info, variant.value), (&TypeInfo::Fixed(FixedType::Int), &int[2..]));
    let text = bytes("E7 07 09 04 D0 00 34 40 1F 41 00");
    let variant = Variant::parse(&text).expect("sound");
    assert_eq!(variant.value, [0x41, 0]);
    let mut again = Vec::new();
    variant.write(&mut again).expect("fits");
    assert_eq!(again, text);
    for (wrong, part) in [
        ("38 01 2A 00 00 00", "VARIANT_PROPERTIES"),
        ("38 00 2A 00 00", "VARIANT_DATAVAL"),
        ("F1 00", "VARIANT_BASETYPE"),
        ("29 01 08 00 00 00 00 00", "TYPE_INFO.SCALE"),
        ("", "VARIANT_BASETYPE"),
        ("A7 07 00", "VARIANT_PROPERTIES"),
    ] {
        let error = Variant::parse(&bytes(wrong)).expect_err("an error").to_string();
        assert!(error.starts_with(part), "{error}");
    }
}

/// 2.2.5.5.1, one of each.
#[test]
fn values_mean_what_the_specification_says() {
    use Scalar as S;
    let n = |kind, size| TypeInfo::Nullable(kind, size);
    let decimal = TypeInfo::Decimal { kind: DecimalType::Numeric, size: 17, precision: 38, scale: 2 };
    for (info, digits, scalar) in [
        (n(NullableType::Int, 1), "FF", S::Int(255)),
        (n(NullableType::Int, 2), "FE FF", S::Int(-2)),
        (n(NullableType::Int, 4), "FF FF FF 7F", S::Int(i64::from(i32::MAX))),
        (n(NullableType::Int, 8), "00 00 00 00 00 00 00 80", S::Int(i64::MIN)),
        (n(NullableType::Bit, 1), "01", S::Bit(true)),
        (n(NullableType::Float, 4), "00 00 80 3F", S::Real(1.0)),
        (n(NullableType::Float, 8), "00 00 00 00 00 00 F0 BF", S::Float(-1.0)),
        (n(NullableType::Money, 4), "10 27 00 00", S::Money(10_000)),
        (n(NullableType::Money, 8), "FF FF FF FF F0 D8 FF FF", S::Money(-10_000)),
        (n(NullableType::DateTime, 4), "01 00 9F 05", S::SmallDateTime(1, 1439)),
        (n(NullableType::DateTime, 8), "FF FF FF FF FF 81 8B 01", S::DateTime(-1, 25_919_999)),
        (TypeInfo::Date, "DA B9 37", S::Date(3_652_058)),
        (TypeInfo::Time(7), "FF BF 69 2A C9", S::Time(863_999_999_999)),
        (TypeInfo::Time(0), "7F 51 01", S::Time(863_990_000_000)),
        (TypeInfo::DateTime2(3), "01 00 00 00 00 00 00", S::DateTime2(0, 10_000)),
        (TypeInfo::DateTimeOffset(0), "00 00 00 01 00 00 C4 FF", S::DateTimeOffset(1, 0, -60)),
    ] {
        let value = bytes(digits);
        assert_eq!(Scalar::parse(&info, &value).as_ref(), Ok(&scalar), "{info:?}");
        let mut again = Vec::new();
        scalar.write(&info, &mut again).expect("a value");
        assert_eq!(again, value, "{info:?}");
    }
    let value = bytes("00 39 30 00 00 00 00 00 00 00 00 00 00 00 00 00 00");
    let minus = S::Decimal { negative: true, digits: 12345, scale: 2 };
    assert_eq!(Scalar::parse(&decimal, &value), Ok(minus));
    for (info, digits, part) in [
        (TypeInfo::Date, "DB B9 37", "dates end with 9999-12-31"),
        (TypeInfo::Time(0), "80 51 01", "shorter than a day"),
        (n(NullableType::DateTime, 8), "00 00 00 00 00 82 8B 01", "a day has 25920000 of these"),
        (n(NullableType::DateTime, 4), "00 00 A0 05", "a day has 1440 minutes"),
        (TypeInfo::DateTimeOffset(0), "00 00 00 01 00 00 49 03", "at most 840 minutes"),
        (decimal, "02 00 00 00 00", "0 below zero, else 1"),
        (varchar_max(), "41", "UTF-16 has an even number of bytes"),
        (TypeInfo::Json, "", "no type whose values come whole"),
    ] {
        let error = Scalar::parse(&info, &bytes(digits)).expect_err("an error").to_string();
        assert!(error.ends_with(part), "{error}");
    }
    let error = S::Int(256).write(&n(NullableType::Int, 1), &mut Vec::new()).expect_err("an error").to_string();
    assert_eq!(error, "type 0x26 has no value like this: out of its range");
    let error = write_null(&TypeInfo::Fixed(FixedType::Int), true, &mut Vec::new()).expect_err("an error");
    assert_eq!(error.to_string(), "type 0x38 has no value like this: it has no NULL");
}
