//! Numbers in the kernel's text, read from bytes.

/// A walk over the space separated fields of one line.
///
/// Each call takes one field. `None` means that it is missing or not the number it should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a>(&'a [u8]);

impl<'a> Columns<'a> {
    #[inline]
    pub(crate) fn new(line: &'a [u8]) -> Self {
        Self(line)
    }

    /// A number of at least 0. A negative one counts as 0: the kernel writes -1 for some ids of a process that is just
    /// being reaped.
    #[inline]
    pub(crate) fn unsigned(&mut self) -> Option<u64> {
        let (negative, value) = self.number()?;
        Some(if negative { 0 } else { value })
    }

    #[inline]
    pub(crate) fn signed(&mut self) -> Option<i64> {
        let (negative, value) = self.number()?;
        if negative { 0_i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
    }

    /// A field that is one byte: the letter of a state.
    #[inline]
    pub(crate) fn letter(&mut self) -> Option<u8> {
        let (letter, rest) = skip_spaces(self.0).split_first()?;
        self.0 = end_of_field(rest)?;
        (*letter != b'\n').then_some(*letter)
    }

    /// Whether nothing is left of the line.
    #[inline]
    pub(crate) fn at_end(&self) -> bool {
        matches!(skip_spaces(self.0), [] | [b'\n', ..])
    }

    #[inline]
    fn number(&mut self) -> Option<(bool, u64)> {
        let (negative, digits) = match skip_spaces(self.0) {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        let (value, rest) = leading(digits)?;
        self.0 = end_of_field(rest)?;
        Some((negative, value))
    }
}

/// The fields of `bytes`, separated by ASCII white space.
pub(crate) fn words(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// The lines of `bytes`, without their line ends and without empty ones.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The numbers of a file that is one line of `N` of them. `None` for each that is missing or not a number; also for one that
/// the line may have been cut off in.
pub(crate) fn row<const N: usize>(file: &[u8]) -> [Option<u64>; N] {
    let line = file.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_whole = line.len() < file.len() || line.last().is_some_and(u8::is_ascii_whitespace);
    let mut words = words(line).peekable();
    let mut numbers = [None; N];
    for (nth, number) in numbers.iter_mut().enumerate() {
        let Some(word) = words.next() else { break };
        let may_be_cut_off = !is_whole && words.peek().is_none() && nth.saturating_add(1) < N;
        *number = decimal(word).filter(|_| !may_be_cut_off);
    }
    numbers
}

/// A `key: value` line, the value without the white space around it.
#[inline]
pub(crate) fn key_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (key, value) = line.split_at_checked(colon)?;
    Some((key, value.get(1..)?.trim_ascii()))
}

/// A decimal number that is all of `bytes`.
#[inline]
pub(crate) fn decimal<T: TryFrom<u64>>(bytes: &[u8]) -> Option<T> {
    match leading(bytes)? {
        (value, []) => T::try_from(value).ok(),
        _ => None,
    }
}

/// A decimal number with or without a sign that is all of `bytes`.
pub(crate) fn signed<T: TryFrom<i64>>(bytes: &[u8]) -> Option<T> {
    let mut columns = Columns::new(bytes);
    let value = columns.signed()?;
    if columns.at_end() { T::try_from(value).ok() } else { None }
}

/// A hexadecimal number that is all of `bytes`, with or without `0x`.
pub(crate) fn hex<T: TryFrom<u64>>(bytes: &[u8]) -> Option<T> {
    radix(bytes.strip_prefix(b"0x").unwrap_or(bytes), 16)
}

/// An octal number that is all of `bytes`.
pub(crate) fn octal<T: TryFrom<u64>>(bytes: &[u8]) -> Option<T> {
    radix(bytes, 8)
}

/// A size such as `12 kB`, in bytes.
pub(crate) fn kib(bytes: &[u8]) -> Option<u64> {
    let number = bytes.strip_suffix(b" kB")?;
    decimal::<u64>(number.trim_ascii_end())?.checked_mul(1024)
}

/// A number with two decimals, as an integer of hundredths: equal texts are equal numbers then.
pub(crate) fn hundredths(number: &[u8]) -> Option<u64> {
    let (whole, decimals) = number.split_at_checked(number.iter().position(|byte| *byte == b'.')?)?;
    let decimals = decimals.strip_prefix(b".").filter(|decimals| decimals.len() == 2)?;
    decimal::<u64>(whole)?.checked_mul(100)?.checked_add(decimal(decimals)?)
}

fn radix<T: TryFrom<u64>>(bytes: &[u8], radix: u32) -> Option<T> {
    let mut value = 0_u64;
    let (first, rest) = bytes.split_first()?;
    for byte in std::iter::once(first).chain(rest) {
        let digit = char::from(*byte).to_digit(radix)?;
        value = value.checked_mul(radix.into())?.checked_add(digit.into())?;
    }
    T::try_from(value).ok()
}

#[inline]
fn skip_spaces(mut bytes: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// The bytes after a field that ended before `rest`: one space is taken, the end of the line is left.
#[inline]
fn end_of_field(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [b' ', rest @ ..] => Some(rest),
        [] | [b'\n', ..] => Some(rest),
        _ => None,
    }
}

/// The number that `bytes` begins with, and the bytes after it.
#[inline]
fn leading(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (value, mut rest) = digit(bytes)?;
    let mut value = u64::from(value);
    while let Some((digit, tail)) = digit(rest) {
        value = value.checked_mul(10)?.checked_add(digit.into())?;
        rest = tail;
    }
    Some((value, rest))
}

#[inline]
fn digit(bytes: &[u8]) -> Option<(u8, &[u8])> {
    match bytes {
        [byte @ b'0'..=b'9', rest @ ..] => Some((byte & 0xf, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_their_limits() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(decimal::<u64>(b"18446744073709551616"), None);
        assert_eq!(decimal::<u32>(b"4294967296"), None);
        assert_eq!(decimal(b"007"), Some(7_u32));
        for bytes in [&b""[..], b"-1", b"+1", b" 1", b"1 ", b"1x", b"\xff"] {
            assert_eq!(decimal::<u64>(bytes), None, "{}", bytes.escape_ascii());
        }
        assert_eq!(signed(b"-9223372036854775808\n"), Some(i64::MIN));
        assert_eq!(signed::<i64>(b"-9223372036854775809"), None);
        assert_eq!(signed::<i64>(b"9223372036854775808"), None);
        assert_eq!(signed::<i64>(b"-"), None);
        assert_eq!(signed::<i64>(b"1 2"), None);
        assert_eq!(hex(b"0xfF"), Some(255_u32));
        assert_eq!(hex(b"ffffffffffffffff"), Some(u64::MAX));
        assert_eq!(hex::<u64>(b"10000000000000000"), None);
        assert_eq!(hex::<u64>(b"0x"), None);
        assert_eq!(octal(b"0022"), Some(0o22_u32));
        assert_eq!(octal::<u32>(b"8"), None);
        assert_eq!(kib(b"12 kB"), Some(12 << 10));
        assert_eq!(kib(b"12"), None);
        assert_eq!(hundredths(b"12.05"), Some(1205));
        for bytes in [&b"12"[..], b".05", b"12.5", b"12.005", b"-1.00", b"1.0x", b"184467440737095516.16"] {
            assert_eq!(hundredths(bytes), None, "{}", bytes.escape_ascii());
        }
        assert_eq!(kib(b"18446744073709551615 kB"), None);
    }

    #[test]
    fn a_row_may_be_short() {
        assert_eq!(row(b"1 2 3\n"), [Some(1), Some(2), Some(3)]);
        assert_eq!(row(b"1 2 3"), [Some(1), Some(2), Some(3)]);
        assert_eq!(row(b"1  x 3 4\n5"), [Some(1), None, Some(3)]);
        assert_eq!(row(b"-1 18446744073709551616 0\n"), [None, None, Some(0)]);
        assert_eq!(row(b"1 2\n3\n"), [Some(1), Some(2), None]);
        assert_eq!(row(b"1 23"), [Some(1), None, None], "of 234, maybe");
        assert_eq!(row(b"1 23 "), [Some(1), Some(23), None]);
        assert_eq!(row::<3>(b""), [None; 3]);
    }

    #[test]
    fn columns_stay_on_their_line() {
        let mut columns = Columns::new(b"7  -7 -7 R\n8");
        assert_eq!(columns.unsigned(), Some(7));
        assert_eq!(columns.unsigned(), Some(0));
        assert_eq!(columns.signed(), Some(-7));
        assert_eq!(columns.letter(), Some(b'R'));
        assert!(columns.at_end());
        assert_eq!(columns.unsigned(), None);
        assert_eq!(columns.letter(), None);
    }
}
