//! The messages of the kernel's process connector: pure functions of bytes.
//!
//! Each datagram has one message: `struct nlmsghdr`, `struct cn_msg`, `struct proc_event`, in the byte order of the machine
//! (`linux/netlink.h`, `linux/connector.h`, `linux/cn_proc.h`).

/// `CN_IDX_PROC` and `CN_VAL_PROC`.
const PROC: u32 = 1;

/// Where the fields are.
const CONNECTOR_ID: usize = 16;
const SEQUENCE: usize = 24;
const ACKNOWLEDGED: usize = 28;
const LENGTH: usize = 32;
const WHAT: usize = 36;
const CPU: usize = 40;
const TIME: usize = 44;
const DATA: usize = 52;

/// The longest message that is of interest, and more than any the kernel sends.
pub(crate) const MESSAGE_BYTES: usize = 128;

/// How long a request is.
pub(crate) const REQUEST_BYTES: usize = 40;

/// The request to the kernel: `enum proc_cn_mcast_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Listen = 1,
    Ignore = 2,
}

/// A message of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// A request was dealt with; `error` is an error number, 0 for none. The kernel numbers it as all that it sends; one that does
    /// not has no CPU for it (`u32::MAX`).
    Acknowledged { cpu: u32, sequence: u32, acknowledged: u32, error: u32 },
    /// An event. Each CPU counts the events it sends, for all listeners together.
    Event { cpu: u32, sequence: u32, monotonic_ns: u64, event: Event },
}

/// The kind of an event of a process or a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A process began.
    Forked { pid: u32, ppid: u32 },
    /// A process replaced its program; whichever thread did so is its only one now.
    Execed { pid: u32 },
    /// A process changed its own name.
    Renamed { pid: u32, name: [u8; 16] },
    /// A process has another effective user id.
    ChangedUser { pid: u32, uid: u32 },
    /// A thread ended. `code` is as `wait(2)` has it; `ppid` is 0 where the kernel does not report it (before Linux 4.18).
    Exited { pid: u32, main_thread: bool, code: u32, ppid: u32 },
    /// An event of no interest here: a thread began, a session, a tracer, a core dump that begins.
    Other,
}

/// Parses a message; `None` for one that is not of the process connector, or is cut short.
pub(crate) fn parse(bytes: &[u8]) -> Option<Message> {
    let message = bytes.get(..usize::try_from(word(bytes, 0)?).ok()?)?;
    if word(message, CONNECTOR_ID)? != PROC || word(message, CONNECTOR_ID.saturating_add(4))? != PROC {
        return None;
    }
    let length = u16::from_ne_bytes(message.get(LENGTH..)?.first_chunk().copied()?);
    let message = message.get(..WHAT.checked_add(usize::from(length))?)?;
    let sequence = word(message, SEQUENCE)?;
    let (what, cpu) = (word(message, WHAT)?, word(message, CPU)?);
    if what == 0 {
        let (acknowledged, error) = (word(message, ACKNOWLEDGED)?, word(message, DATA)?);
        return Some(Message::Acknowledged { cpu, sequence, acknowledged, error });
    }
    let monotonic_ns = u64::from_ne_bytes(message.get(TIME..)?.first_chunk().copied()?);
    let data = message.get(DATA..)?;
    let event = match what {
        // PROC_EVENT_FORK: parent_pid, parent_tgid, child_pid, child_tgid.
        0x1 => match (word(data, 8)?, word(data, 12)?) {
            (pid, tgid) if pid == tgid => Event::Forked { pid, ppid: word(data, 4)? },
            _ => Event::Other,
        },
        // PROC_EVENT_EXEC: process_pid, process_tgid.
        0x2 => Event::Execed { pid: word(data, 4)? },
        // PROC_EVENT_UID: process_pid, process_tgid, ruid, euid.
        0x4 if word(data, 0)? == word(data, 4)? => Event::ChangedUser { pid: word(data, 4)?, uid: word(data, 12)? },
        // PROC_EVENT_COMM: process_pid, process_tgid, comm.
        0x200 if word(data, 0)? == word(data, 4)? => {
            Event::Renamed { pid: word(data, 4)?, name: data.get(8..)?.first_chunk().copied()? }
        }
        // PROC_EVENT_EXIT: process_pid, process_tgid, exit_code, exit_signal, parent_pid, parent_tgid.
        0x8000_0000 => {
            let (thread, pid) = (word(data, 0)?, word(data, 4)?);
            let ppid = word(data, 20).unwrap_or(0);
            Event::Exited { pid, main_thread: thread == pid, code: word(data, 8)?, ppid }
        }
        _ => Event::Other,
    };
    Some(Message::Event { cpu, sequence, monotonic_ns, event })
}

/// A request to the kernel. Its acknowledgement has the number after `acknowledge`.
pub(crate) fn request(operation: Operation, acknowledge: u32) -> [u8; REQUEST_BYTES] {
    /// `NLMSG_DONE`.
    const DONE: u16 = 3;
    let mut bytes = [0; REQUEST_BYTES];
    let fields: [(usize, u32); 5] = [
        (0, REQUEST_BYTES as u32),
        (CONNECTOR_ID, PROC),
        (CONNECTOR_ID.saturating_add(4), PROC),
        (ACKNOWLEDGED, acknowledge),
        (WHAT, operation as u32),
    ];
    for (at, word) in fields {
        put(&mut bytes, at, &word.to_ne_bytes());
    }
    put(&mut bytes, 4, &DONE.to_ne_bytes());
    put(&mut bytes, LENGTH, &4_u16.to_ne_bytes());
    bytes
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (byte, of_value) in bytes.iter_mut().skip(at).zip(value) {
        *byte = *of_value;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message as the kernel writes it.
    pub(crate) fn message(cpu: u32, sequence: u32, what: u32, data: &[u32]) -> Vec<u8> {
        let mut bytes = request(Operation::Listen, 0).to_vec();
        put(&mut bytes, SEQUENCE, &sequence.to_ne_bytes());
        bytes.truncate(WHAT);
        bytes.extend(what.to_ne_bytes());
        bytes.extend(cpu.to_ne_bytes());
        bytes.extend(7_000_000_007_u64.to_ne_bytes());
        bytes.extend(data.iter().flat_map(|word| word.to_ne_bytes()));
        // The union has the size of its largest member.
        bytes.resize(DATA + 24, 0);
        let length = u32::try_from(bytes.len()).unwrap();
        put(&mut bytes, 0, &length.to_ne_bytes());
        put(&mut bytes, LENGTH, &40_u16.to_ne_bytes());
        bytes
    }

    fn event(what: u32, data: &[u32]) -> Event {
        match parse(&message(3, 9, what, data)) {
            Some(Message::Event { cpu: 3, sequence: 9, monotonic_ns: 7_000_000_007, event }) => event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_of_the_kernel() {
        assert_eq!(event(1, &[10, 10, 20, 20]), Event::Forked { pid: 20, ppid: 10 });
        assert_eq!(event(1, &[10, 10, 21, 20]), Event::Other, "a thread");
        assert_eq!(event(2, &[20, 20]), Event::Execed { pid: 20 });
        assert_eq!(event(4, &[20, 20, 0, 1000]), Event::ChangedUser { pid: 20, uid: 1000 });
        assert_eq!(event(4, &[21, 20, 0, 1000]), Event::Other, "a thread");
        let name = u32::from_ne_bytes(*b"job\0");
        assert_eq!(event(0x200, &[20, 20, name]), Event::Renamed { pid: 20, name: *b"job\0\0\0\0\0\0\0\0\0\0\0\0\0" });
        assert_eq!(event(0x200, &[21, 20, name]), Event::Other, "a thread");
        let exited = |main_thread, ppid| Event::Exited { pid: 20, main_thread, code: 0x700, ppid };
        assert_eq!(event(0x8000_0000, &[20, 20, 0x700, 17, 10, 10]), exited(true, 10));
        assert_eq!(event(0x8000_0000, &[21, 20, 0x700, 17, 10, 10]), exited(false, 10));
        assert_eq!(event(0x80, &[20, 20]), Event::Other);
        let mut acknowledgement = message(u32::MAX, 5, 0, &[13]);
        put(&mut acknowledgement, ACKNOWLEDGED, &8_u32.to_ne_bytes());
        let expected = Message::Acknowledged { cpu: u32::MAX, sequence: 5, acknowledged: 8, error: 13 };
        assert_eq!(parse(&acknowledgement), Some(expected));
    }

    #[test]
    fn an_old_kernel_reports_no_parent() {
        let mut bytes = message(0, 0, 0x8000_0000, &[20, 20, 9, 17]);
        bytes.truncate(DATA + 16);
        put(&mut bytes, 0, &u32::try_from(DATA + 16).unwrap().to_ne_bytes());
        put(&mut bytes, LENGTH, &32_u16.to_ne_bytes());
        let Some(Message::Event { event, .. }) = parse(&bytes) else { panic!() };
        assert_eq!(event, Event::Exited { pid: 20, main_thread: true, code: 9, ppid: 0 });
    }

    #[test]
    fn others_are_left_alone() {
        let mut other = message(0, 0, 1, &[1, 1, 2, 2]);
        put(&mut other, CONNECTOR_ID, &2_u32.to_ne_bytes());
        assert_eq!(parse(&other), None);
        assert_eq!(parse(&request(Operation::Ignore, 2)), None, "no answer");
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
            let _ = parse(&bytes);
        }

        /// Any part of a message, with any length in its headers.
        #[test]
        fn any_part(
            what in prop::sample::select(vec![0, 1, 2, 4, 0x200, 0x8000_0000_u32]),
            data in prop::collection::vec(0..4_u32, 6),
            cut in 0..90_usize, length in 0..90_u32, inner in 0..90_u16,
        ) {
            let mut bytes = message(1, 2, what, &data);
            let whole = parse(&bytes);
            prop_assert!(whole.is_some());
            put(&mut bytes, 0, &length.to_ne_bytes());
            put(&mut bytes, LENGTH, &inner.to_ne_bytes());
            bytes.truncate(cut);
            // Either it is understood as it was meant, or not at all; only the parent of an exit may be missing.
            if let Some(found) = parse(&bytes) {
                let without = |message| match message {
                    Message::Event { cpu, sequence, monotonic_ns, event: Event::Exited { pid, main_thread, code, .. } } => {
                        Message::Event { cpu, sequence, monotonic_ns, event: Event::Exited { pid, main_thread, code, ppid: 0 } }
                    }
                    other => other,
                };
                prop_assert_eq!(without(found), without(whole.unwrap()));
            }
        }
    }
}
