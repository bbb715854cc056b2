//! The rules themselves, in the order in which the kernel asks them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{DNS_PORT, HEALTH_PORT, Settings, TCP_PORT};

/// `table inet sluice`: both families.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) chains: Vec<Chain>,
}

/// A chain that hangs on a hook of the network stack.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) hook: Hook,
    pub(super) priority: i32,
    /// What happens to a packet that no rule decides.
    pub(super) otherwise: Policy,
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Filter,
    Nat,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Hook {
    Input,
    Output,
    Postrouting,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Policy {
    Accept,
    Drop,
}

/// All of `when`, then `then`.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) when: Vec<When>,
    pub(super) then: Then,
}

/// A condition on a packet. One that asks about a socket, or about a header
/// that the packet does not have, is not met.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    /// Its socket was opened by a process with this UID and this GID.
    Owner(u32),
    /// Its socket was opened by a process: it is not the kernel's own packet
    /// and not what is left of a socket that was closed.
    Owned,
    /// It comes in by the loopback device.
    FromLoopback,
    /// It goes out by the loopback device.
    ToLoopback,
    /// IPv4 or IPv6, as this address is.
    Family(IpAddr),
    Protocol(Protocol),
    /// TCP or UDP.
    SourcePort(u16),
    /// TCP or UDP.
    DestinationPort(u16),
    /// ICMPv6; only after its protocol.
    IcmpType(u8),
    State(State),
    /// It answers, in a connection that the other side began.
    Reply,
    /// Its connection bears this mark.
    Mark(u32),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Icmpv6,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    New,
    Established,
    EstablishedOrRelated,
}

/// What is done with a packet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Then {
    Accept,
    Drop,
    /// Asks no further rule of this chain.
    Return,
    /// To this port of the pod itself.
    Redirect(u16),
    /// As if it came from this address.
    ComesFrom(IpAddr),
    /// Marks its connection, and accepts it.
    MarkAndAccept(u32),
    /// Tracks the direction it goes in apart from other connections.
    Zone(u16),
}

/// The table that holds the pod's network.
pub(super) fn table(settings: &Settings) -> Table {
    Table { name: "sluice", chains: vec![apart(settings), turn(settings), answer(), leave(settings), arrive(settings)] }
}

/// The gateway's own questions to a resolver are tracked apart from the
/// agent's. Else an entry of one (kept for seconds after its socket is closed)
/// would decide about a packet of the other that happens to have the same
/// ports: the gateway would ask itself, the agent would reach the resolver.
fn apart(settings: &Settings) -> Chain {
    Chain {
        name: "apart",
        kind: Kind::Filter,
        hook: Hook::Output,
        priority: BEFORE_TRACKING,
        otherwise: Policy::Accept,
        rules: vec![rule([When::Protocol(Protocol::Udp), When::Owner(settings.user)], Then::Zone(ZONE))],
    }
}

/// DNS first: a stub on a loopback address is turned as well.
fn turn(settings: &Settings) -> Chain {
    let dns = |protocol| rule([When::Protocol(protocol), When::DestinationPort(53)], Then::Redirect(DNS_PORT));
    Chain {
        name: "turn",
        kind: Kind::Nat,
        hook: Hook::Output,
        priority: DESTINATION_NAT,
        otherwise: Policy::Accept,
        rules: vec![
            rule([When::Owner(settings.user)], Then::Return),
            dns(Protocol::Udp),
            dns(Protocol::Tcp),
            rule([When::ToLoopback], Then::Return),
            rule([When::Protocol(Protocol::Tcp)], Then::Redirect(TCP_PORT)),
        ],
    }
}

/// A question that was turned to a loopback address comes from one. Else the
/// resolver's answer would leave from the pod's address, and the agent takes
/// answers only from the address that it asked.
fn answer() -> Chain {
    let from = |address: IpAddr| {
        rule(
            [When::ToLoopback, When::Family(address), When::Protocol(Protocol::Udp), When::DestinationPort(DNS_PORT)],
            Then::ComesFrom(address),
        )
    };
    Chain {
        name: "answer",
        kind: Kind::Nat,
        hook: Hook::Postrouting,
        priority: SOURCE_NAT,
        otherwise: Policy::Accept,
        rules: vec![from(Ipv4Addr::LOCALHOST.into()), from(Ipv6Addr::LOCALHOST.into())],
    }
}

/// Not in the output hook: there a drop sees the packet before its destination
/// is turned.
fn leave(settings: &Settings) -> Chain {
    let mut rules =
        vec![rule([When::ToLoopback], Then::Accept), rule([When::Owner(settings.user)], Then::MarkAndAccept(MARK))];
    rules.extend(settings.inbound.iter().map(|port| {
        rule(
            [When::Protocol(Protocol::Tcp), When::SourcePort(*port), When::Reply, When::State(State::Established)],
            Then::Accept,
        )
    }));
    rules.extend([
        rule([When::Owned], Then::Drop),
        // Below are packets of no process. The gateway's: what the kernel
        // still sends for sockets that it closed or does not know yet.
        rule([When::Protocol(Protocol::Tcp), When::Mark(MARK), When::State(State::Established)], Then::Accept),
    ]);
    rules.extend(DISCOVERY_OUT.map(icmpv6));
    Chain {
        name: "leave",
        kind: Kind::Filter,
        hook: Hook::Postrouting,
        priority: FILTER,
        otherwise: Policy::Drop,
        rules,
    }
}

/// From wherever: an address proves nothing, for a peer that comes by a node
/// port has the node's.
fn arrive(settings: &Settings) -> Chain {
    let mut rules =
        vec![rule([When::FromLoopback], Then::Accept), rule([When::State(State::EstablishedOrRelated)], Then::Accept)];
    rules.extend(DISCOVERY_IN.map(icmpv6));
    rules.extend([HEALTH_PORT].iter().chain(&settings.inbound).map(|port| {
        rule([When::Protocol(Protocol::Tcp), When::DestinationPort(*port), When::State(State::New)], Then::Accept)
    }));
    Chain { name: "arrive", kind: Kind::Filter, hook: Hook::Input, priority: FILTER, otherwise: Policy::Drop, rules }
}

fn rule(when: impl Into<Vec<When>>, then: Then) -> Rule {
    Rule { when: when.into(), then }
}

fn icmpv6(kind: u8) -> Rule {
    rule([When::Protocol(Protocol::Icmpv6), When::IcmpType(kind)], Then::Accept)
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} -> {:?}", self.when, self.then)
    }
}

/// Router solicitation, neighbour solicitation and advertisement, multicast
/// listener report (RFC 4861, RFC 3810).
const DISCOVERY_OUT: [u8; 4] = [133, 135, 136, 143];
/// Multicast listener query, router advertisement, neighbour solicitation and
/// advertisement.
const DISCOVERY_IN: [u8; 4] = [130, 134, 135, 136];

/// On connections of the gateway that leave the pod.
const MARK: u32 = 0x51ce;
/// Of the gateway's datagrams.
const ZONE: u16 = 1;

// Priorities, linux/netfilter_ipv4.h.
const BEFORE_TRACKING: i32 = -300;
const DESTINATION_NAT: i32 = -100;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;
