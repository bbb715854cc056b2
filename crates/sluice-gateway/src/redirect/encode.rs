//! Rules as nf_tables reads them: attributes within attributes
//! (linux/netfilter/nf_tables.h). Each expression loads into, compares or uses
//! one register.

use std::net::IpAddr;

use super::rules::{Chain, Hook, Kind, Policy, Protocol, Rule, State, Table, Then, When};

/// Attributes, one after the other.
#[derive(Debug, Default)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    /// `table inet NAME`
    pub(super) fn table(table: &Table) -> Self {
        Self::default().text(NFTA_TABLE_NAME, table.name).number(NFTA_TABLE_FLAGS, 0)
    }

    /// `chain NAME { type KIND hook HOOK priority N; policy P; }`
    pub(super) fn chain(table: &Table, chain: &Chain) -> Self {
        let hook = Self::default()
            .number(NFTA_HOOK_HOOKNUM, chain.hook.number())
            .number(NFTA_HOOK_PRIORITY, chain.priority.cast_unsigned());
        Self::default()
            .text(NFTA_CHAIN_TABLE, table.name)
            .text(NFTA_CHAIN_NAME, chain.name)
            .nest(NFTA_CHAIN_HOOK, hook)
            .number(NFTA_CHAIN_POLICY, chain.otherwise.number())
            .text(NFTA_CHAIN_TYPE, chain.kind.name())
    }

    /// One rule, to stand behind those that its chain has.
    pub(super) fn rule(table: &Table, chain: &Chain, rule: &Rule) -> Self {
        let conditions = rule.when.iter().fold(Self::default(), |all, when| all.condition(*when));
        Self::default()
            .text(NFTA_RULE_TABLE, table.name)
            .text(NFTA_RULE_CHAIN, chain.name)
            .nest(NFTA_RULE_EXPRESSIONS, conditions.consequence(rule.then))
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn condition(self, when: When) -> Self {
        match when {
            When::Owner(id) => {
                let id = id.to_ne_bytes();
                self.meta(NFT_META_SKUID).compare(NFT_CMP_EQ, &id).meta(NFT_META_SKGID).compare(NFT_CMP_EQ, &id)
            }
            // No process has this UID; without a process there is none to compare.
            When::Owned => self.meta(NFT_META_SKUID).compare(NFT_CMP_NEQ, &u32::MAX.to_ne_bytes()),
            When::FromLoopback => self.meta(NFT_META_IIF).compare(NFT_CMP_EQ, &LOOPBACK.to_ne_bytes()),
            When::ToLoopback => self.meta(NFT_META_OIF).compare(NFT_CMP_EQ, &LOOPBACK.to_ne_bytes()),
            When::Family(address) => self.meta(NFT_META_NFPROTO).compare(NFT_CMP_EQ, &[family(address)]),
            When::Protocol(protocol) => self.meta(NFT_META_L4PROTO).compare(NFT_CMP_EQ, &[protocol.number()]),
            When::SourcePort(port) => self.payload(0, 2).compare(NFT_CMP_EQ, &port.to_be_bytes()),
            When::DestinationPort(port) => self.payload(2, 2).compare(NFT_CMP_EQ, &port.to_be_bytes()),
            When::IcmpType(kind) => self.payload(0, 1).compare(NFT_CMP_EQ, &[kind]),
            When::State(state) => self.ct(NFT_CT_STATE).mask(state.bits()).compare(NFT_CMP_NEQ, &0_u32.to_ne_bytes()),
            When::Reply => self.ct(NFT_CT_DIRECTION).compare(NFT_CMP_EQ, &[IP_CT_DIR_REPLY]),
            When::Mark(mark) => self.ct(NFT_CT_MARK).compare(NFT_CMP_EQ, &mark.to_ne_bytes()),
        }
    }

    fn consequence(self, then: Then) -> Self {
        match then {
            Then::Accept => self.verdict(NF_ACCEPT),
            Then::Drop => self.verdict(NF_DROP),
            Then::Return => self.verdict(NFT_RETURN),
            Then::Redirect(port) => self.load(&port.to_be_bytes()).redirect(),
            Then::ComesFrom(IpAddr::V4(address)) => self.load(&address.octets()).source_nat(NFPROTO_IPV4),
            Then::ComesFrom(IpAddr::V6(address)) => self.load(&address.octets()).source_nat(NFPROTO_IPV6),
            Then::MarkAndAccept(mark) => self.load(&mark.to_ne_bytes()).set_ct(NFT_CT_MARK, None).verdict(NF_ACCEPT),
            Then::Zone(zone) => self.load(&zone.to_ne_bytes()).set_ct(NFT_CT_ZONE, Some(IP_CT_DIR_ORIGINAL)),
        }
    }

    fn meta(self, key: u32) -> Self {
        let data = Self::default().number(NFTA_META_KEY, key).number(NFTA_META_DREG, REGISTER);
        self.expression("meta", data)
    }

    /// Bytes of the transport header.
    fn payload(self, offset: u32, length: u32) -> Self {
        let data = Self::default()
            .number(NFTA_PAYLOAD_DREG, REGISTER)
            .number(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER)
            .number(NFTA_PAYLOAD_OFFSET, offset)
            .number(NFTA_PAYLOAD_LEN, length);
        self.expression("payload", data)
    }

    fn ct(self, key: u32) -> Self {
        let data = Self::default().number(NFTA_CT_KEY, key).number(NFTA_CT_DREG, REGISTER);
        self.expression("ct", data)
    }

    fn set_ct(self, key: u32, direction: Option<u8>) -> Self {
        let data = Self::default().number(NFTA_CT_KEY, key).number(NFTA_CT_SREG, REGISTER);
        let data = match direction {
            Some(direction) => data.bytes(NFTA_CT_DIRECTION, &[direction]),
            None => data,
        };
        self.expression("ct", data)
    }

    fn compare(self, operation: u32, value: &[u8]) -> Self {
        let data = Self::default()
            .number(NFTA_CMP_SREG, REGISTER)
            .number(NFTA_CMP_OP, operation)
            .nest(NFTA_CMP_DATA, Self::default().bytes(NFTA_DATA_VALUE, value));
        self.expression("cmp", data)
    }

    fn mask(self, bits: u32) -> Self {
        let value = |value: u32| Self::default().bytes(NFTA_DATA_VALUE, &value.to_ne_bytes());
        let data = Self::default()
            .number(NFTA_BITWISE_SREG, REGISTER)
            .number(NFTA_BITWISE_DREG, REGISTER)
            .number(NFTA_BITWISE_LEN, 4)
            .nest(NFTA_BITWISE_MASK, value(bits))
            .nest(NFTA_BITWISE_XOR, value(0));
        self.expression("bitwise", data)
    }

    fn load(self, value: &[u8]) -> Self {
        let data = Self::default()
            .number(NFTA_IMMEDIATE_DREG, REGISTER)
            .nest(NFTA_IMMEDIATE_DATA, Self::default().bytes(NFTA_DATA_VALUE, value));
        self.expression("immediate", data)
    }

    fn verdict(self, code: i32) -> Self {
        let code = Self::default().number(NFTA_VERDICT_CODE, code.cast_unsigned());
        let data = Self::default()
            .number(NFTA_IMMEDIATE_DREG, VERDICT)
            .nest(NFTA_IMMEDIATE_DATA, Self::default().nest(NFTA_DATA_VERDICT, code));
        self.expression("immediate", data)
    }

    fn redirect(self) -> Self {
        self.expression("redir", Self::default().number(NFTA_REDIR_REG_PROTO_MIN, REGISTER))
    }

    fn source_nat(self, family: u8) -> Self {
        let data = Self::default()
            .number(NFTA_NAT_TYPE, NFT_NAT_SNAT)
            .number(NFTA_NAT_FAMILY, family.into())
            .number(NFTA_NAT_REG_ADDR_MIN, REGISTER);
        self.expression("nat", data)
    }

    fn expression(self, name: &str, data: Self) -> Self {
        self.nest(NFTA_LIST_ELEM, Self::default().text(NFTA_EXPR_NAME, name).nest(NFTA_EXPR_DATA, data))
    }

    fn nest(self, kind: u16, inner: Self) -> Self {
        self.bytes(kind | NLA_F_NESTED, &inner.0)
    }

    fn text(self, kind: u16, text: &str) -> Self {
        self.bytes(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// In network order, as all numbers of nf_tables that are no register's
    /// content.
    fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // A rule has a dozen expressions of less than a hundred bytes each.
        self.0.extend((4 + value.len() as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

impl Hook {
    fn number(self) -> u32 {
        match self {
            Self::Input => 1,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

impl Policy {
    fn number(self) -> u32 {
        match self {
            Self::Accept => NF_ACCEPT.cast_unsigned(),
            Self::Drop => NF_DROP.cast_unsigned(),
        }
    }
}

impl Protocol {
    fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmpv6 => 58,
        }
    }
}

impl State {
    /// `NF_CT_STATE_BIT` of each state.
    fn bits(self) -> u32 {
        match self {
            Self::Established => 0b0010,
            Self::EstablishedOrRelated => 0b0110,
            Self::New => 0b1000,
        }
    }
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { NFPROTO_IPV4 } else { NFPROTO_IPV6 }
}

/// `lo` is the first device of every network namespace.
const LOOPBACK: u32 = 1;

const VERDICT: u32 = 0;
const REGISTER: u32 = 1;

// linux/netlink.h, linux/netfilter.h
const NLA_F_NESTED: u16 = 1 << 15;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
// linux/netfilter/nf_conntrack_tuple_common.h
const IP_CT_DIR_ORIGINAL: u8 = 0;
const IP_CT_DIR_REPLY: u8 = 1;
// linux/netfilter/nf_tables.h
const NFT_RETURN: i32 = -5;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;
const NFTA_BITWISE_SREG: u16 = 1;
const NFTA_BITWISE_DREG: u16 = 2;
const NFTA_BITWISE_LEN: u16 = 3;
const NFTA_BITWISE_MASK: u16 = 4;
const NFTA_BITWISE_XOR: u16 = 5;
const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFT_META_IIF: u32 = 4;
const NFT_META_OIF: u32 = 5;
const NFT_META_SKUID: u32 = 10;
const NFT_META_SKGID: u32 = 11;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;
const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFTA_CT_DREG: u16 = 1;
const NFTA_CT_KEY: u16 = 2;
const NFTA_CT_DIRECTION: u16 = 3;
const NFTA_CT_SREG: u16 = 4;
const NFT_CT_STATE: u32 = 0;
const NFT_CT_DIRECTION: u32 = 1;
const NFT_CT_MARK: u32 = 3;
const NFT_CT_ZONE: u32 = 17;
const NFTA_REDIR_REG_PROTO_MIN: u16 = 1;
const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_FAMILY: u16 = 2;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFT_NAT_SNAT: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    /// `[ meta load skuid => reg 1 ] [ cmp eq reg 1 … ]`, byte by byte.
    #[test]
    fn attributes_nest_and_are_padded() {
        let bytes = Attributes::default().condition(When::ToLoopback).into_bytes();
        let expected: Vec<u8> = [
            &attribute(NFTA_LIST_ELEM | NLA_F_NESTED, 36)[..],
            &attribute(NFTA_EXPR_NAME, 9),
            b"meta\0\0\0\0",
            &attribute(NFTA_EXPR_DATA | NLA_F_NESTED, 20),
            &attribute(NFTA_META_KEY, 8),
            &[0, 0, 0, 5],
            &attribute(NFTA_META_DREG, 8),
            &[0, 0, 0, 1],
        ]
        .concat();
        assert_eq!(bytes[..expected.len()], expected);
        assert_eq!(bytes.len() % 4, 0);
        let text = Attributes::default().text(NFTA_TABLE_NAME, "sluice").into_bytes();
        assert_eq!(text, [&attribute(1, 11)[..], b"sluice\0\0"].concat());
    }

    fn attribute(kind: u16, length: u16) -> Vec<u8> {
        [length.to_ne_bytes(), kind.to_ne_bytes()].concat()
    }
}
