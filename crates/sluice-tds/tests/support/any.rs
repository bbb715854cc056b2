//! Anything that can be said, as proptest strategies.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use sluice_tds::*;

pub(crate) fn text() -> impl Strategy<Value = Text> {
    prop_oneof![
        "[a-z@_ é漢😀]{0,12}".prop_map(|text| Text::from(text.as_str())),
        // Unpaired surrogates too.
        vec(any::<u16>(), 0..4).prop_map(Text::from_units),
    ]
}

pub(crate) fn secret() -> impl Strategy<Value = Secret> {
    "[ -~]{0,20}".prop_map(|text| Secret::from_text(&text))
}

pub(crate) fn data() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn collation() -> impl Strategy<Value = Collation> {
    any::<[u8; 5]>().prop_map(Collation)
}

fn udt(column: bool) -> BoxedStrategy<TypeInfo> {
    let place = if column { (any::<u16>(), text()).prop_map(Some).boxed() } else { Just(None).boxed() };
    (text(), text(), text(), place)
        .prop_map(|(database, schema, name, column)| TypeInfo::Udt(UdtInfo { database, schema, name, column }))
        .boxed()
}

/// Any type; `column`: as columns and return values have it.
pub(crate) fn type_info(column: bool) -> BoxedStrategy<TypeInfo> {
    use FixedType as F;
    use NullableType as N;
    let fixed = prop::sample::select(vec![
        F::Null,
        F::TinyInt,
        F::Bit,
        F::SmallInt,
        F::Int,
        F::SmallDateTime,
        F::Real,
        F::Money,
        F::DateTime,
        F::Float,
        F::SmallMoney,
        F::BigInt,
    ]);
    let nullable = prop::sample::select(vec![N::Guid, N::Int, N::Bit, N::Float, N::Money, N::DateTime])
        .prop_flat_map(|kind| prop::sample::select(kind.sizes()).prop_map(move |size| TypeInfo::Nullable(kind, size)));
    let decimal = (
        prop::sample::select(vec![
            DecimalType::OldDecimal,
            DecimalType::OldNumeric,
            DecimalType::Decimal,
            DecimalType::Numeric,
        ]),
        prop::sample::select(vec![5_u8, 9, 13, 17]),
        0..=38_u8,
    )
        .prop_map(|(kind, size, precision)| TypeInfo::Decimal { kind, size, precision, scale: precision / 2 });
    let old = (
        prop::sample::select(vec![
            BytesType::OldBinary,
            BytesType::OldChar,
            BytesType::OldVarBinary,
            BytesType::OldVarChar,
        ]),
        0..=255_u16,
    )
        .prop_map(|(kind, size)| TypeInfo::Bytes(kind, size));
    let binary = (
        prop::sample::select(vec![BytesType::BigBinary, BytesType::BigVarBinary]),
        prop_oneof![0..=8000_u16, Just(TypeInfo::MAX)],
    )
        .prop_map(|(kind, size)| TypeInfo::Bytes(kind, size));
    let char = (
        prop::sample::select(vec![CharType::Char, CharType::VarChar, CharType::NChar, CharType::NVarChar]),
        prop_oneof![0..=8000_u16, Just(TypeInfo::MAX)],
        collation(),
    )
        .prop_map(|(kind, size, collation)| TypeInfo::Char { kind, size, collation });
    let long =
        (prop::sample::select(vec![LongType::Image, LongType::Text, LongType::NText]), any::<u32>(), collation())
            .prop_map(|(kind, size, collation)| {
                let collation = (kind != LongType::Image).then_some(collation);
                TypeInfo::Long { kind, size, collation }
            });
    let xml = option::of((text(), text(), text())).prop_map(|schema| {
        TypeInfo::Xml(schema.map(|(database, schema, collection)| XmlSchema { database, schema, collection }))
    });
    prop_oneof![
        fixed.prop_map(TypeInfo::Fixed),
        nullable,
        decimal,
        old,
        binary,
        char,
        long,
        xml,
        udt(column),
        Just(TypeInfo::Date),
        (0..=7_u8).prop_map(TypeInfo::Time),
        (0..=7_u8).prop_map(TypeInfo::DateTime2),
        (0..=7_u8).prop_map(TypeInfo::DateTimeOffset),
        Just(TypeInfo::Variant(8009)),
        Just(TypeInfo::Json),
        (8..=8000_u16, 0..=1_u8).prop_map(|(size, element)| TypeInfo::Vector { size, element }),
    ]
    .boxed()
}

/// A value of a type, or NULL.
pub(crate) fn value(info: &TypeInfo) -> BoxedStrategy<Option<Vec<u8>>> {
    let time = |scale: u8| match scale {
        0..=2 => 3,
        3 | 4 => 4,
        _ => 5,
    };
    let exactly = |size: usize| vec(any::<u8>(), size..=size).boxed();
    let at_most = |size: usize| vec(any::<u8>(), 0..=size.min(60)).boxed();
    let wide = |size: usize| {
        at_most(size)
            .prop_map(|mut value| {
                value.truncate(value.len() & !1);
                value
            })
            .boxed()
    };
    match info {
        TypeInfo::Fixed(FixedType::Null) => return Just(None).boxed(),
        TypeInfo::Fixed(kind) => return exactly(kind.size().into()).prop_map(Some).boxed(),
        _ => {}
    }
    let value = match info {
        TypeInfo::Fixed(_) => exactly(0),
        TypeInfo::Nullable(_, size) | TypeInfo::Decimal { size, .. } => exactly((*size).into()),
        TypeInfo::Date => exactly(3),
        TypeInfo::Time(scale) => exactly(time(*scale)),
        TypeInfo::DateTime2(scale) => exactly(time(*scale) + 3),
        TypeInfo::DateTimeOffset(scale) => exactly(time(*scale) + 5),
        // With one byte of length, no bytes are NULL.
        TypeInfo::Bytes(kind, 0) if kind.is_old() => return Just(None).boxed(),
        TypeInfo::Bytes(kind, size) if kind.is_old() => vec(any::<u8>(), 1..=usize::from(*size)).boxed(),
        TypeInfo::Bytes(_, size) => at_most((*size).into()),
        TypeInfo::Char { kind, size, .. } if kind.is_wide() => wide((*size).into()),
        TypeInfo::Char { size, .. } => at_most((*size).into()),
        TypeInfo::Long { kind: LongType::NText, .. } => wide(60),
        TypeInfo::Long { .. } | TypeInfo::Xml(_) | TypeInfo::Udt(_) | TypeInfo::Json => at_most(60),
        TypeInfo::Variant(_) => vec(any::<u8>(), 1..=60).boxed(),
        TypeInfo::Vector { size, .. } => at_most((*size).into()),
    };
    option::of(value).boxed()
}

/// A value, its length unknown and in chunks where that is possible.
pub(crate) fn written(info: &TypeInfo, row: bool, value: Option<&[u8]>, chunk: usize, out: &mut Vec<u8>) {
    let large = match info {
        TypeInfo::Xml(_) | TypeInfo::Udt(_) | TypeInfo::Json => true,
        TypeInfo::Char { kind: CharType::VarChar | CharType::NVarChar, size, .. }
        | TypeInfo::Bytes(BytesType::BigVarBinary, size) => *size == TypeInfo::MAX,
        _ => false,
    };
    match value {
        None => write_null(info, row, out).expect("has NULL"),
        Some(value) if large && chunk > 0 => {
            let writer = PlpWriter::start(None, out);
            value.chunks(chunk).for_each(|chunk| writer.chunk(chunk, out).expect("short"));
            writer.end(out);
        }
        Some(value) => write_value(info, row, value, out).expect("fits"),
    }
}

fn crypto(column: bool) -> impl Strategy<Value = CryptoMetadata> {
    let key = if column { Just(Some(0)).boxed() } else { Just(None).boxed() };
    (key, any::<u32>(), type_info(true), option::of(text()), 1..=2_u8, any::<u8>()).prop_map(
        |(key, user_type, info, algorithm_name, encryption, normalization)| CryptoMetadata {
            key,
            user_type,
            info,
            algorithm: u8::from(algorithm_name.is_none()),
            algorithm_name,
            encryption,
            normalization,
        },
    )
}

fn table(info: &TypeInfo) -> BoxedStrategy<Vec<Text>> {
    match info {
        TypeInfo::Long { .. } => vec(text(), 0..5).boxed(),
        _ => Just(Vec::new()).boxed(),
    }
}

fn column(encrypted: bool) -> impl Strategy<Value = Column> {
    let crypto = if encrypted { option::of(crypto(true)).boxed() } else { Just(None).boxed() };
    (type_info(true), any::<u32>(), any::<u16>(), crypto, text()).prop_flat_map(
        |(info, user_type, flags, crypto, name)| {
            table(&info).prop_map(move |table| {
                let flags = if crypto.is_some() { flags | Column::ENCRYPTED } else { flags & !Column::ENCRYPTED };
                Column { user_type, flags, info: info.clone(), table, crypto: crypto.clone(), name: name.clone() }
            })
        },
    )
}

fn encryption_key() -> impl Strategy<Value = EncryptionKey> {
    let value = (data(), text(), text(), text()).prop_map(|(encrypted, store, path, algorithm)| EncryptionKeyValue {
        encrypted,
        store,
        path,
        algorithm,
    });
    (any::<(u32, u32, u32, u64)>(), vec(value, 0..3)).prop_map(|((database, id, version, metadata_version), values)| {
        EncryptionKey { database, id, version, metadata_version, values }
    })
}

pub(crate) fn columns(encrypted: bool) -> impl Strategy<Value = ColMetadata> {
    let keys = if encrypted { vec(encryption_key(), 1..3).boxed() } else { Just(Vec::new()).boxed() };
    (keys, vec(column(encrypted), 0..12)).prop_map(|(keys, columns)| ColMetadata { keys, columns })
}

fn totals() -> impl Strategy<Value = AltMetadata> {
    let column = (any::<(u8, u16, u32, u16)>(), type_info(true), text()).prop_flat_map(
        |((operator, operand, user_type, flags), info, name)| {
            table(&info).prop_map(move |table| AltColumn {
                operator,
                operand,
                user_type,
                flags,
                info: info.clone(),
                table,
                name: name.clone(),
            })
        },
    );
    (any::<u16>(), vec(any::<u16>(), 0..4), vec(column, 0..4)).prop_map(|(id, by, columns)| AltMetadata {
        id,
        by,
        columns,
    })
}

fn message() -> impl Strategy<Value = Message> {
    (any::<(i32, u8, u8, u32)>(), text(), text(), text()).prop_map(
        |((number, state, class, line), text, server, procedure)| Message {
            number,
            state,
            class,
            text,
            server,
            procedure,
            line,
        },
    )
}

fn states() -> impl Strategy<Value = Vec<SessionStateEntry>> {
    let value = prop_oneof![data(), vec(any::<u8>(), 250..300)];
    vec((any::<u8>(), value).prop_map(|(id, value)| SessionStateEntry { id, value }), 0..4)
}

fn env_change() -> impl Strategy<Value = EnvChange> {
    let text_kind = prop::sample::select(vec![1_u8, 2, 3, 4, 5, 6, 13, 19]);
    let bytes_kind = prop::sample::select(vec![7_u8, 8, 9, 10, 11, 12, 16, 17, 18]);
    prop_oneof![
        (text_kind, text(), text()).prop_map(|(kind, new, old)| EnvChange::Text { kind, new, old }),
        (bytes_kind, data(), data()).prop_map(|(kind, new, old)| EnvChange::Bytes { kind, new, old }),
        data().prop_map(EnvChange::Promoted),
        (1..=u16::MAX, text(), option::of(text())).prop_map(|(port, server, database)| EnvChange::Routing(Routing {
            port,
            server,
            database
        })),
        (22..=255_u8, data()).prop_map(|(kind, data)| EnvChange::Other { kind, data }),
    ]
}

fn classification(ranks: bool) -> impl Strategy<Value = DataClassification> {
    let rank = move || if ranks { option::of(0..40_i32).boxed() } else { Just(None).boxed() };
    let sensitivity = (option::of(Just(0_u16)), option::of(Just(0_u16)), rank())
        .prop_map(|(label, kind, rank)| Sensitivity { label, kind, rank });
    let columns = vec(vec(sensitivity, 0..3), 0..6);
    (vec((text(), text()), 1..3), vec((text(), text()), 1..3), rank(), columns)
        .prop_map(|(labels, types, rank, columns)| DataClassification { labels, types, rank, columns })
}

fn feature_acks() -> impl Strategy<Value = Vec<FeatureAck>> {
    // Not those that change how the rest reads.
    let ids = vec![0x01_u8, 0x02, 0x05, 0x08, 0x0A, 0x0B, 0x0D, 0x0E, 0x0F, 0x10, 0x77];
    (prop::sample::subsequence(ids, 0..=11), data()).prop_map(|(ids, data)| {
        ids.into_iter().map(|id| FeatureAck { id: FeatureId(id), data: data.clone() }).collect()
    })
}

pub(crate) fn done() -> impl Strategy<Value = Done> {
    (prop::sample::select(vec![DoneKind::Done, DoneKind::DoneProc, DoneKind::DoneInProc]), any::<(u16, u16, u64)>())
        .prop_map(|(kind, (status, command, rows))| Done { kind, status, command, rows })
}

/// Any whole token but one that changes how the rest reads.
pub(crate) fn token(negotiated: Negotiated) -> BoxedStrategy<Token> {
    let ranks = negotiated.data_classification.is_some_and(|version| version >= 2);
    let encrypted = negotiated.column_encryption.is_some();
    let col_info = (any::<(u8, u8)>(), 0..=0x1F_u8, option::of(text())).prop_map(|((column, table), status, name)| {
        ColInfo { column, table, status: status | if name.is_some() { 0x20 } else { 0 }, name }
    });
    let fed_auth_info = vec((any::<u8>(), text()), 0..4).prop_map(|options| FedAuthInfo { options });
    let login_ack = (any::<(u8, u32, [u8; 4])>(), text())
        .prop_map(|((interface, tds_version, version), program)| LoginAck { interface, tds_version, program, version });
    let session_state = (any::<(u32, u8)>(), states()).prop_map(|((sequence, status), states)| SessionState {
        sequence,
        status,
        states,
    });
    prop_oneof![
        columns(encrypted).prop_map(|columns| Token::ColMetadata(Arc::new(columns))),
        Just(Token::NoMetadata),
        totals().prop_map(|totals| Token::AltMetadata(Arc::new(totals))),
        done().prop_map(Token::Done),
        message().prop_map(Token::Error),
        message().prop_map(Token::Info),
        login_ack.prop_map(Token::LoginAck),
        env_change().prop_map(Token::EnvChange),
        fed_auth_info.prop_map(Token::FedAuthInfo),
        vec(any::<u16>(), 0..5).prop_map(Token::Order),
        any::<i32>().prop_map(Token::ReturnStatus),
        session_state.prop_map(Token::SessionState),
        secret().prop_map(Token::Sspi),
        vec(vec(text(), 0..5), 0..3).prop_map(Token::TabName),
        vec(col_info, 0..4).prop_map(Token::ColInfo),
        classification(ranks).prop_map(Token::DataClassification),
    ]
    .boxed()
}

pub(crate) fn acks() -> impl Strategy<Value = Token> {
    feature_acks().prop_map(Token::FeatureExtAck)
}

pub(crate) fn negotiated() -> impl Strategy<Value = Negotiated> {
    (option::of(1..=3_u8), option::of(1..=2_u8))
        .prop_map(|(column_encryption, data_classification)| Negotiated { column_encryption, data_classification })
}

/// Columns, rows of them (compressed or not), and what they are on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) columns: ColMetadata,
    pub(crate) rows: Vec<Vec<Option<Vec<u8>>>>,
    pub(crate) chunk: usize,
    pub(crate) compressed: bool,
}

pub(crate) fn rows(encrypted: bool) -> impl Strategy<Value = Rows> {
    (columns(encrypted), 0..4_usize, 0..20_usize, any::<bool>()).prop_flat_map(|(columns, count, chunk, compressed)| {
        let row: Vec<_> = columns.columns.iter().map(|column| value(&column.info)).collect();
        vec(row, count..=count).prop_map(move |rows| Rows { columns: columns.clone(), rows, chunk, compressed })
    })
}

impl Rows {
    pub(crate) fn write_rows(&self, out: &mut Vec<u8>) {
        for row in &self.rows {
            if self.compressed {
                out.push(0xD2);
                let mut nulls = vec![0_u8; self.columns.columns.len().div_ceil(8)];
                for (index, value) in row.iter().enumerate() {
                    nulls[index / 8] |= u8::from(value.is_none()) << (index % 8);
                }
                out.extend(nulls);
            } else {
                out.push(0xD1);
            }
            for (column, value) in self.columns.columns.iter().zip(row) {
                if !self.compressed || value.is_some() {
                    written(&column.info, true, value.as_deref(), self.chunk, out);
                }
            }
        }
    }
}

pub(crate) fn return_value(encrypted: bool) -> impl Strategy<Value = (ReturnValue, Option<Vec<u8>>)> {
    let crypto = if encrypted { option::of(crypto(false)).boxed() } else { Just(None).boxed() };
    (type_info(true), any::<(u16, u8, u32, u16)>(), text(), crypto).prop_flat_map(
        |(info, (ordinal, status, user_type, flags), name, crypto)| {
            let flags = if crypto.is_some() { flags | Column::ENCRYPTED } else { flags & !Column::ENCRYPTED };
            value(&info).prop_map(move |value| {
                let (name, info, crypto) = (name.clone(), info.clone(), crypto.clone());
                (ReturnValue { ordinal, name, status, user_type, flags, info, crypto }, value)
            })
        },
    )
}

fn recovery_state() -> impl Strategy<Value = sluice_tds::SessionRecoveryState> {
    (text(), option::of(collation()), text(), states()).prop_map(|(database, collation, language, states)| {
        sluice_tds::SessionRecoveryState { database, collation, language, states }
    })
}

fn fed_auth() -> impl Strategy<Value = FedAuth> {
    prop_oneof![
        (any::<bool>(), secret(), secret()).prop_map(|(echo, token, signed)| FedAuth::LiveId { echo, token, signed }),
        (any::<bool>(), secret(), option::of(any::<[u8; 32]>()))
            .prop_map(|(echo, token, nonce)| FedAuth::SecurityToken { echo, token, nonce }),
        any::<(bool, u8)>().prop_map(|(echo, workflow)| FedAuth::Workflow { echo, workflow }),
        (any::<bool>(), 3..=0x7F_u8, secret()).prop_map(|(echo, library, data)| FedAuth::Other { echo, library, data }),
    ]
}

fn features() -> impl Strategy<Value = Vec<Feature>> {
    let recovery = option::of((recovery_state(), recovery_state()))
        .prop_map(|states| states.map(|(initial, current)| Box::new(SessionRecovery { initial, current })));
    (recovery, fed_auth(), any::<[u8; 5]>(), option::of(any::<u8>()), data(), 0x20..=0xFE_u8).prop_flat_map(
        |(recovery, fed_auth, [a, b, c, d, e], utf8, data, other)| {
            let all = vec![
                Feature::SessionRecovery(recovery),
                Feature::FedAuth(fed_auth),
                Feature::ColumnEncryption(a),
                Feature::GlobalTransactions,
                Feature::AzureSqlSupport(b),
                Feature::DataClassification(c),
                Feature::Utf8Support(utf8),
                Feature::AzureSqlDnsCaching,
                Feature::JsonSupport(d),
                Feature::VectorSupport(e),
                Feature::EnhancedRouting,
                Feature::UserAgent(data.clone()),
                Feature::Other(FeatureId(other), data),
            ];
            prop::sample::subsequence(all, 0..=13)
        },
    )
}

pub(crate) fn login() -> impl Strategy<Value = Login7> {
    let names = (text(), text(), text(), text(), text(), text(), text(), text());
    let numbers = any::<(u32, u32, u32, u32, u8, u8, u8, u8, i32, u32)>();
    let version = prop::sample::select(vec![TdsVersion::V7_2, TdsVersion::V7_4, TdsVersion::V8_0]);
    (version, numbers, names, secret(), secret(), any::<[u8; 6]>(), secret(), option::of(features())).prop_map(
        |(tds_version, numbers, names, password, new_password, client_id, sspi, features)| {
            let flag = if features.is_some() { 0x10 } else { 0 };
            Login7 {
                tds_version,
                packet_size: numbers.0,
                client_version: numbers.1,
                client_pid: numbers.2,
                connection_id: numbers.3,
                option_flags1: numbers.4,
                option_flags2: numbers.5,
                type_flags: numbers.6,
                option_flags3: numbers.7 & !0x10 | flag,
                time_zone: numbers.8,
                lcid: numbers.9,
                host_name: names.0,
                user_name: names.1,
                password,
                app_name: names.2,
                server_name: names.3,
                library_name: names.4,
                language: names.5,
                database: names.6,
                client_id,
                sspi,
                attach_file: names.7,
                new_password,
                features,
            }
        },
    )
}

pub(crate) fn headers() -> impl Strategy<Value = AllHeaders> {
    (option::of(data()), any::<(u64, u32)>(), option::of(any::<([u8; 16], u32)>()), option::of((4..=u16::MAX, data())))
        .prop_map(|(notification, (descriptor, outstanding), trace, other)| {
            let mut headers = vec![DataHeader::Transaction { descriptor, outstanding }];
            headers.extend(notification.map(DataHeader::QueryNotification));
            headers.extend(trace.map(|(activity, sequence)| DataHeader::Trace { activity, sequence }));
            headers.extend(other.map(|(kind, data)| DataHeader::Other(kind, data)));
            AllHeaders { headers }
        })
}

pub(crate) fn transaction() -> impl Strategy<Value = TransactionRequest> {
    let begin = || (any::<u8>(), data()).prop_map(|(isolation, name)| TransactionBegin { isolation, name });
    let kind = prop_oneof![
        data().prop_map(TransactionKind::GetAddress),
        data().prop_map(TransactionKind::Propagate),
        begin().prop_map(TransactionKind::Begin),
        Just(TransactionKind::Promote),
        (data(), option::of(begin())).prop_map(|(name, next)| TransactionKind::Commit(name, next)),
        (data(), option::of(begin())).prop_map(|(name, next)| TransactionKind::Rollback(name, next)),
        data().prop_map(TransactionKind::Save),
    ];
    (headers(), kind).prop_map(|(headers, kind)| TransactionRequest { headers, kind })
}

pub(crate) fn batch(negotiated: Negotiated) -> impl Strategy<Value = SqlBatch> {
    let enclave = if negotiated.enclave() { data().boxed() } else { Just(Vec::new()).boxed() };
    (headers(), enclave, text()).prop_map(|(headers, enclave, text)| SqlBatch { headers, enclave, text })
}

fn cipher() -> impl Strategy<Value = CipherInfo> {
    (type_info(false), option::of(text()), any::<(u8, u32, u32, u32, u64, u8)>()).prop_map(
        |(info, algorithm_name, (encryption, database, key, key_version, metadata_version, normalization))| {
            CipherInfo {
                info,
                algorithm: u8::from(algorithm_name.is_none()),
                algorithm_name,
                encryption,
                database,
                key,
                key_version,
                metadata_version,
                normalization,
            }
        },
    )
}

/// Something of an RPC: its bytes, and the events that reading them must give.
/// A value is `value COLUMN Some(BYTES)`, in however many pieces it comes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    pub(crate) wire: Vec<u8>,
    pub(crate) events: Vec<String>,
}

impl Written {
    fn value(&mut self, column: usize, value: &Option<Vec<u8>>) {
        self.events.push(format!("value {column} {value:?}"));
    }

    fn parameter(&mut self, parameter: &Parameter) {
        parameter.write(&mut self.wire).expect("fits");
        self.events.push(format!("{:?}", Request::Parameter(Box::new(parameter.clone()))));
    }

    fn end(&mut self, cipher: Option<CipherInfo>) {
        if let Some(cipher) = &cipher {
            cipher.write(&mut self.wire).expect("fits");
        }
        self.events.push(format!("{:?}", Request::ParameterEnd(cipher.map(Box::new))));
    }

    fn append(&mut self, other: Self) {
        self.wire.extend(other.wire);
        self.events.extend(other.events);
    }
}

fn scalar() -> impl Strategy<Value = Written> {
    (type_info(false), text(), any::<u8>(), option::of(cipher()), 0..20_usize).prop_flat_map(
        |(info, name, status, cipher, chunk)| {
            value(&info).prop_map(move |value| {
                let mut out = Written::default();
                let encrypted = if cipher.is_some() { Parameter::ENCRYPTED } else { 0 };
                let status = status & !Parameter::ENCRYPTED | encrypted;
                out.parameter(&Parameter { name: name.clone(), status, kind: ParameterType::Scalar(info.clone()) });
                written(&info, false, value.as_deref(), chunk, &mut out.wire);
                out.value(0, &value);
                out.end(cipher.clone());
                out
            })
        },
    )
}

fn table_parameter() -> impl Strategy<Value = Written> {
    let column = (any::<u32>(), any::<u16>(), type_info(false), text())
        .prop_map(|(user_type, flags, info, name)| TableColumn { user_type, flags, info, name });
    (
        (text(), text(), text()),
        option::of(vec(column, 0..5)),
        option::of(vec(any::<(u16, u8)>(), 0..3)),
        option::of(vec(any::<u16>(), 0..3)),
        0..3_usize,
    )
        .prop_flat_map(|((database, schema, name), columns, order, ordering, count)| {
            let sent: Vec<TypeInfo> = columns
                .iter()
                .flatten()
                .filter(|column| column.flags & TableColumn::DEFAULT == 0)
                .map(|column| column.info.clone())
                .collect();
            let row: Vec<_> = sent.iter().map(value).collect();
            let table = TableType { database, schema, name, columns, order, ordering };
            vec(row, count..=count).prop_map(move |rows| {
                let mut out = Written::default();
                let kind = ParameterType::Table(Box::new(table.clone()));
                out.parameter(&Parameter { name: Text::default(), status: 0, kind });
                for row in &rows {
                    let values = sent.iter().zip(row.iter().map(Option::as_deref));
                    Parameter::write_table_row(values, &mut out.wire).expect("fits");
                    out.events.push("Row".to_owned());
                    row.iter().enumerate().for_each(|(column, value)| out.value(column, value));
                    out.events.push("RowEnd".to_owned());
                }
                Parameter::end_table(&mut out.wire);
                out.events.push("TableEnd".to_owned());
                out.end(None);
                out
            })
        })
}

fn call(negotiated: Negotiated) -> impl Strategy<Value = Written> {
    let procedure = prop_oneof![any::<u16>().prop_map(Procedure::Id), text().prop_map(Procedure::Name)];
    let enclave = if negotiated.enclave() { data().boxed() } else { Just(Vec::new()).boxed() };
    let parameter = prop_oneof![4 => scalar(), 1 => table_parameter()];
    (procedure, any::<u16>(), enclave, vec(parameter, 0..4)).prop_map(
        move |(procedure, options, enclave, parameters)| {
            let mut out = Written::default();
            let call = Call { procedure, options, enclave };
            call.write(&negotiated, &mut out.wire).expect("fits");
            out.events.push(format!("{:?}", Request::Call(call)));
            parameters.into_iter().for_each(|parameter| out.append(parameter));
            out
        },
    )
}

/// Calls with separators, perhaps one at the end.
pub(crate) fn rpc(negotiated: Negotiated) -> impl Strategy<Value = Written> {
    let separated = (call(negotiated), any::<bool>());
    (headers(), vec(separated, 1..4), any::<bool>()).prop_map(|(headers, calls, trailing)| {
        let mut out = Written { wire: rpc_headers(&headers), events: Vec::new() };
        out.events.push(format!("{:?}", Request::Headers(headers)));
        for (call, execute) in calls {
            out.append(call);
            out.wire.push(if execute { 0xFF } else { 0xFE });
            out.events.push(format!("{:?}", Request::NextCall { execute }));
        }
        if !trailing {
            out.wire.pop();
            out.events.pop();
        }
        out
    })
}

/// A batch without text is its headers.
fn rpc_headers(headers: &AllHeaders) -> Vec<u8> {
    let mut out = Vec::new();
    SqlBatch { headers: headers.clone(), ..SqlBatch::default() }.write(&Negotiated::default(), &mut out).expect("fits");
    out
}
