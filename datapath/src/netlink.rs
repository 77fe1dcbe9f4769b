//! Route netlink, as much as links, addresses, namespaces and filters need: requests, dumps, attributes.
//!
//! Requests and attributes are netlink-packet-route's. Answers are read attribute by attribute, and only those that we
//! ask for: an attribute that a newer kernel lays out differently must not cost us the list of interfaces.

use std::io;

use netlink_packet_core::{DecodeError, DefaultNla, Emitable, NetlinkBuffer, NlaBuffer, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// Bytes offered for one read. The kernel fills a dump's messages up to 32 KiB.
const READ: usize = 64 * 1024;
/// How often a dump that changed under our hands is asked for again.
const DUMP_ATTEMPTS: u32 = 8;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
/// Fails where the object exists.
pub(crate) const NLM_F_EXCL: u16 = 0x200;
/// Creates the object.
pub(crate) const NLM_F_CREATE: u16 = 0x400;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;

/// What can go wrong between us and route netlink.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// The socket could not be opened or used.
    #[error("netlink socket: {call}")]
    Socket {
        /// What was tried.
        call: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The kernel refused a request.
    #[error("the kernel refused to {request}")]
    Refused {
        /// What was asked.
        request: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// An answer that cannot be read.
    #[error("the kernel's answer to the request to {request} cannot be read")]
    Malformed {
        /// What was asked.
        request: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A list that changed at every attempt to read it.
    #[error("the list changed {attempts} times while we tried to {request}")]
    Unsteady {
        /// What was asked.
        request: &'static str,
        /// Attempts made.
        attempts: u32,
    },
}

impl NetlinkError {
    /// The error number of a refused request.
    pub fn refusal(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            Self::Socket { .. } | Self::Malformed { .. } | Self::Unsteady { .. } => None,
        }
    }
}

/// A request under construction: message type, fixed header, attributes.
pub(crate) struct Request {
    what: &'static str,
    kind: u16,
    body: Vec<u8>,
}

impl Request {
    /// `what` completes "the kernel refused to ..."; `fixed` is the family's own header.
    pub(crate) fn new(what: &'static str, kind: u16, fixed: &[u8]) -> Self {
        Self {
            what,
            kind,
            body: fixed.to_vec(),
        }
    }

    /// A request in the package's own words.
    pub(crate) fn of(what: &'static str, message: &RouteNetlinkMessage) -> Self {
        let mut body = vec![0; message.buffer_len()];
        message.emit(&mut body);
        let kind = message.message_type();
        Self { what, kind, body }
    }

    /// Appends an attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let nla = DefaultNla::new(kind, value.to_vec());
        let start = self.body.len();
        self.body.resize(start + nla.buffer_len(), 0);
        nla.emit(&mut self.body[start..]);
        self
    }

    /// The attributes alone, to be nested in another request.
    pub(crate) fn into_body(self) -> Vec<u8> {
        self.body
    }

    fn bytes(&self, flags: u16, sequence: u32) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes.extend_from_slice(&self.body);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut header = NetlinkBuffer::new(&mut bytes);
        header.set_length(length);
        header.set_message_type(self.kind);
        header.set_flags(NLM_F_REQUEST | flags);
        header.set_sequence_number(sequence);
        bytes
    }
}

/// A socket for requests, blocking; the answers come from the kernel at once.
pub(crate) struct Route {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Route {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        let socket = Socket::new(NETLINK_ROUTE).map_err(failed("open"))?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(failed("connect"))?;
        // Kernels without strict checking (before 4.20) ignore the target namespace and would list our own.
        socket
            .set_netlink_get_strict_chk(true)
            .map_err(failed("set NETLINK_GET_STRICT_CHK"))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: Vec::with_capacity(READ),
        })
    }

    /// Asks for a list and hands each element's payload to `each`, which gathers. A list that changed meanwhile is
    /// asked for again, with an empty gathering.
    pub(crate) fn dump<T: Default>(
        &mut self,
        request: &Request,
        mut each: impl FnMut(&mut T, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<T, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut heard = T::default();
            let steady = self.exchange(request, NLM_F_DUMP, |payload| each(&mut heard, payload))?;
            if steady {
                return Ok(heard);
            }
        }
        Err(NetlinkError::Unsteady {
            request: request.what,
            attempts: DUMP_ATTEMPTS,
        })
    }

    /// Asks for one thing; answers `found`'s value of the last message that had one.
    pub(crate) fn ask<T>(
        &mut self,
        request: &Request,
        mut found: impl FnMut(&[u8]) -> Result<Option<T>, DecodeError>,
    ) -> Result<Option<T>, NetlinkError> {
        let mut answer = None;
        self.exchange(request, NLM_F_ACK, |payload| {
            if let Some(value) = found(payload)? {
                answer = Some(value);
            }
            Ok(())
        })?;
        Ok(answer)
    }

    /// Orders a change.
    pub(crate) fn order(&mut self, request: &Request, flags: u16) -> Result<(), NetlinkError> {
        self.exchange(request, NLM_F_ACK | flags, |_| Ok(())).map(|_| ())
    }

    /// One request and its answers up to the acknowledgement or the list's end; false where the list was disturbed.
    fn exchange(
        &mut self,
        request: &Request,
        flags: u16,
        mut each: impl FnMut(&[u8]) -> Result<(), DecodeError>,
    ) -> Result<bool, NetlinkError> {
        let malformed = |source| NetlinkError::Malformed {
            request: request.what,
            source,
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.socket
            .send(&request.bytes(flags, self.sequence), 0)
            .map_err(failed("send"))?;
        let (mut steady, mut bad) = (true, None);
        loop {
            self.buffer.clear();
            let (_, sender) = self.socket.recv_from(&mut self.buffer, 0).map_err(failed("receive"))?;
            if sender.port_number() != 0 {
                continue;
            }
            let mut rest = self.buffer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest).map_err(malformed)?;
                rest = rest.get(aligned(message.length())..).unwrap_or_default();
                if message.sequence_number() != self.sequence {
                    continue;
                }
                steady &= message.flags() & NLM_F_DUMP_INTR == 0;
                match message.message_type() {
                    // Both carry an error number, zero or negative: a list may fail half-way.
                    NLMSG_DONE | NLMSG_ERROR => {
                        let code = word(message.payload(), 0).map_err(malformed)?.cast_signed();
                        if code == 0 {
                            return bad.map_or(Ok(steady), |error| Err(malformed(error)));
                        }
                        let source = io::Error::from_raw_os_error(code.saturating_abs());
                        return Err(NetlinkError::Refused {
                            request: request.what,
                            source,
                        });
                    }
                    // Read on to the end: the kernel takes no other request while a list is on its way.
                    _ => bad = bad.or(each(message.payload()).err()),
                }
            }
        }
    }
}

/// The attributes behind a message's fixed header of `fixed` bytes.
pub(crate) fn attributes(
    payload: &[u8],
    fixed: usize,
) -> impl Iterator<Item = Result<NlaBuffer<&[u8]>, DecodeError>> + '_ {
    NlasIterator::new(payload.get(fixed..).unwrap_or_default())
}

/// A 32-bit word in host byte order at `offset`.
pub(crate) fn word(bytes: &[u8], offset: usize) -> Result<u32, DecodeError> {
    match bytes.get(offset..).and_then(|rest| rest.first_chunk()) {
        Some(chunk) => Ok(u32::from_ne_bytes(*chunk)),
        None => Err(DecodeError::buffer_too_small(bytes.len(), offset + 4)),
    }
}

/// A text attribute without its closing zero. Interface names may be any bytes; what is no UTF-8 is replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Names what was tried on the socket.
pub(crate) fn failed(call: &'static str) -> impl FnOnce(io::Error) -> NetlinkError {
    move |source| NetlinkError::Socket { call, source }
}

fn aligned(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX).saturating_add(3) & !3
}
