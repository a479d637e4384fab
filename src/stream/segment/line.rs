//! A line of a recording: a snapshot in the wire form, as in a message.
//!
//! It begins with the form of its content, so that other forms can stand beside it, and has the time among its first fields, so that
//! lines can be passed over without decoding them.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::SCHEMA;
use crate::{Sample, Snapshot, Timestamp};

/// The beginning of a line with a whole snapshot.
const WHOLE: &[u8] = b"{\"form\":\"snapshot\",";

/// The time of a line is within so many bytes, as far as a host's name is not longer. No more of a line is looked at for it.
pub(crate) const NEAR: usize = 1024;

#[derive(Serialize)]
struct Line<'a, T> {
    form: &'static str,
    schema: u32,
    kind: &'static str,
    #[serde(flatten)]
    snapshot: &'a Snapshot<T>,
}

/// Writes a snapshot, with the end of its line, into `bytes`. Returns false if it cannot be encoded.
pub(crate) fn write<T: Sample + Serialize>(snapshot: &Snapshot<T>, bytes: &mut Vec<u8>) -> bool {
    bytes.clear();
    let line = Line { form: "snapshot", schema: SCHEMA, kind: T::KIND, snapshot };
    let is_written = serde_json::to_writer(&mut *bytes, &line).is_ok();
    bytes.push(b'\n');
    is_written
}

/// Decodes a line. The error is a text for people.
pub(crate) fn read<T: Sample + DeserializeOwned>(line: &[u8]) -> Result<Snapshot<T>, String> {
    let Some(rest) = line.strip_prefix(WHOLE) else {
        return Err("its form is not known to this version".to_owned());
    };
    let schema = rest.strip_prefix(b"\"schema\":").and_then(|rest| rest.split(|byte| *byte == b',').next());
    if schema != Some(SCHEMA.to_string().as_bytes()) {
        return Err(format!("its schema is not supported, only {SCHEMA}"));
    }
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

/// Whether it has a whole snapshot, which can be read without the lines before it.
pub(crate) fn is_whole(line: &[u8]) -> bool {
    line.starts_with(WHOLE)
}

/// Returns the time of a line without decoding it.
pub(crate) fn time(line: &[u8]) -> Option<Timestamp> {
    const NAME: &[u8] = b",\"time\":\"";
    // A quote within a text is escaped, so this can be the field only.
    let near = line.get(..line.len().min(NEAR))?;
    let start = near.windows(NAME.len()).position(|window| window == NAME)?.checked_add(NAME.len())?;
    let text = near.get(start..)?;
    let end = text.iter().position(|byte| *byte == b'"')?;
    str::from_utf8(text.get(..end)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProcessSample;

    #[test]
    fn a_line_is_a_snapshot_both_ways_and_has_its_time_in_front() {
        let mut snapshot: Snapshot<ProcessSample> = [ProcessSample::default()].into_iter().collect();
        snapshot.host = Some("a\",\"time\":\"2000-01-01T00:00:00Z".into());
        snapshot.time = Timestamp::from_unix_nanos(1_234_567_890_123_456_789);
        let mut line = Vec::new();
        assert!(write(&snapshot, &mut line));
        assert_eq!(time(&line), Some(snapshot.time));
        assert!(is_whole(&line) && line.ends_with(b"]}\n"));
        assert_eq!(read::<ProcessSample>(&line).unwrap(), snapshot);
        assert!(read::<ProcessSample>(b"{\"form\":\"delta\",").is_err());
    }
}
