//! One netlink transaction: the kernel takes all of it or nothing
//! (linux/netfilter/nfnetlink.h).

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use super::InitError;
use super::encode::Attributes;
use super::rules::Table;

/// Puts the table in the place of one with the same name, if there is one.
pub(super) fn replace(table: &Table) -> Result<(), InitError> {
    let mut batch = Batch::default();
    batch.begin();
    // Deleting needs a table that is there, and making one that is there is
    // no error.
    batch.add(NFT_MSG_NEWTABLE, NLM_F_CREATE, &format!("table {}", table.name), Attributes::table(table));
    batch.add(NFT_MSG_DELTABLE, 0, &format!("no table {}", table.name), Attributes::table(table));
    batch.add(NFT_MSG_NEWTABLE, NLM_F_CREATE, &format!("table {}", table.name), Attributes::table(table));
    for chain in &table.chains {
        batch.add(NFT_MSG_NEWCHAIN, NLM_F_CREATE, &format!("chain {}", chain.name), Attributes::chain(table, chain));
        for rule in &chain.rules {
            let part = format!("rule of chain {}: {rule}", chain.name);
            batch.add(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, &part, Attributes::rule(table, chain, rule));
        }
    }
    batch.end();
    batch.commit()
}

/// Messages with ascending sequence numbers from 0; each but the first and the
/// last asks for an acknowledgement.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    /// What each message is, by sequence number.
    parts: Vec<String>,
}

impl Batch {
    fn begin(&mut self) {
        self.message(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES, &[]);
        self.parts.push("the transaction".to_owned());
    }

    fn add(&mut self, message: u16, flags: u16, part: &str, attributes: Attributes) {
        let kind = NFNL_SUBSYS_NFTABLES << 8 | message;
        self.message(kind, flags | NLM_F_ACK, NFPROTO_INET, 0, &attributes.into_bytes());
        self.parts.push(part.to_owned());
    }

    fn end(&mut self) {
        self.message(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES, &[]);
        self.parts.push("the end of the transaction".to_owned());
    }

    /// `nlmsghdr`, `nfgenmsg`, attributes. All are multiples of four.
    fn message(&mut self, kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) {
        let sequence = self.parts.len() as u32;
        self.bytes.extend(((HEADER + 4 + attributes.len()) as u32).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        self.bytes.extend(0_u32.to_ne_bytes());
        self.bytes.extend([family, NFNETLINK_V0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(attributes);
    }

    /// Sends all in one datagram. The kernel works on it before the call
    /// returns, so the answers are there then.
    fn commit(self) -> Result<(), InitError> {
        let socket = open()?;
        let kernel = netlink::SocketAddrNetlink::new(0, 0);
        match rustix::net::sendto(&socket, &self.bytes, SendFlags::empty(), &kernel) {
            Ok(sent) if sent == self.bytes.len() => {}
            Ok(_) => return Err(InitError::Exchange(io::ErrorKind::WriteZero.into())),
            Err(Errno::PERM) => return Err(InitError::NotPermitted),
            Err(error) => return Err(InitError::Exchange(error.into())),
        }
        let mut missing = self.parts.len() - 2;
        while missing > 0 {
            // An acknowledgement is short; a refusal repeats the message.
            let mut answers = vec![0; 16 * 1024];
            let (length, _) = rustix::net::recv(&socket, &mut answers[..], RecvFlags::DONTWAIT)
                .map_err(|error| InitError::Exchange(error.into()))?;
            for answer in Answers(answers.get(..length).unwrap_or_default()) {
                match answer.error {
                    0 => missing = missing.saturating_sub(1),
                    error if error == Errno::PERM.raw_os_error() => return Err(InitError::NotPermitted),
                    error => {
                        let part = usize::try_from(answer.sequence).ok().and_then(|index| self.parts.get(index));
                        let part = part.map_or("the rules", String::as_str).to_owned();
                        return Err(InitError::Refused { part, error: io::Error::from_raw_os_error(error) });
                    }
                }
            }
        }
        Ok(())
    }
}

fn open() -> Result<OwnedFd, InitError> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::NETFILTER),
    )
    .map_err(|error| InitError::NoNetfilter(error.into()))?;
    rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 0))
        .map_err(|error| InitError::Exchange(error.into()))?;
    Ok(socket)
}

/// The `nlmsgerr`s of one datagram.
struct Answers<'a>(&'a [u8]);

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    sequence: u32,
    /// 0 for success.
    error: i32,
}

impl Iterator for Answers<'_> {
    type Item = Answer;

    fn next(&mut self) -> Option<Answer> {
        loop {
            let length = usize::try_from(number(self.0, 0)?).ok()?.max(HEADER);
            let message = self.0.get(..length)?;
            self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
            let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
            if kind != NLMSG_ERROR {
                continue;
            }
            let error = number(message, HEADER)?.cast_signed().saturating_neg();
            return Some(Answer { sequence: number(message, 8)?, error });
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

// linux/netlink.h, linux/netfilter.h, linux/netfilter/nfnetlink.h,
// linux/netfilter/nf_tables.h
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const AF_UNSPEC: u8 = 0;
const NFPROTO_INET: u8 = 1;
const NFNETLINK_V0: u8 = 0;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(sequence: u32, error: i32, tail: usize) -> Vec<u8> {
        let mut bytes = ((HEADER + 4 + tail) as u32).to_ne_bytes().to_vec();
        bytes.extend(NLMSG_ERROR.to_ne_bytes());
        bytes.extend(0_u16.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(error.to_ne_bytes());
        bytes.resize((HEADER + 4 + tail).next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn every_answer_of_a_datagram_is_read() {
        let mut other = answer(9, 0, 0);
        other[4] = 3; // NLMSG_DONE
        let bytes = [answer(1, 0, 16), other, answer(2, -17, 21), answer(3, 0, 0)].concat();
        let answers: Vec<Answer> = Answers(&bytes).collect();
        let expected = [(1, 0), (2, Errno::EXIST.raw_os_error()), (3, 0)];
        assert_eq!(answers, expected.map(|(sequence, error)| Answer { sequence, error }));
    }

    #[test]
    fn messages_are_numbered_and_measured() {
        let mut batch = Batch::default();
        batch.begin();
        batch.add(NFT_MSG_NEWTABLE, NLM_F_CREATE, "table", Attributes::default());
        batch.end();
        assert_eq!(batch.bytes.len(), 60);
        for (index, message) in batch.bytes.chunks(20).enumerate() {
            assert_eq!((number(message, 0), number(message, 8)), (Some(20), Some(index as u32)));
        }
        // `nfgenmsg` of the first names the subsystem in network order.
        assert_eq!(batch.bytes[16..20], [0, 0, 0, 10]);
        assert_eq!(batch.bytes[36..40], [1, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn no_answer_hangs_or_panics(bytes in prop::collection::vec(any::<u8>(), 0..96)) {
            prop_assert!(Answers(&bytes).count() <= bytes.len() / HEADER);
        }
    }
}
