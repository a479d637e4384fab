//! Numbers with a unit, as people write them: `64 MiB`, `80%`, `250ms`.

use crate::measured::Unit;

/// The bytes in one of each unit of size; units with an `i` are powers of 1,024.
const SIZES: [(&str, f64); 10] = [
    ("B", 1.0),
    ("kB", 1e3),
    ("KiB", 1024.0),
    ("MB", 1e6),
    ("MiB", 1_048_576.0),
    ("GB", 1e9),
    ("GiB", 1_073_741_824.0),
    ("TB", 1e12),
    ("TiB", 1_099_511_627_776.0),
    ("PiB", 1_125_899_906_842_624.0),
];

/// A size in bytes: a number, with a unit of size behind it or none.
///
/// # Errors
///
/// Why it is none, for people.
pub(crate) fn bytes(text: &str) -> Result<f64, String> {
    let expected = || format!("expected a size, such as `1500`, `10 MB` or `64 MiB`, not `{text}`");
    let (number, unit) = split(text).ok_or_else(expected)?;
    if unit.is_empty() {
        return Ok(number);
    }
    let is_unit = |name: &&(&str, f64)| {
        name.0.eq_ignore_ascii_case(unit) || (name.0.len() > 1 && name.0.strip_suffix('B') == Some(unit))
    };
    match SIZES.iter().find(is_unit) {
        Some((_, size)) => Ok(number * size),
        None => {
            let units: Vec<_> = SIZES.iter().map(|(name, _)| *name).collect();
            Err(format!("there is no unit of size `{unit}`; there are {}", units.join(", ")))
        }
    }
}

/// A whole number of bytes, exact over the whole range.
///
/// # Errors
///
/// Why it is none, for people.
#[cfg(feature = "config")]
pub(crate) fn whole_bytes(text: &str) -> Result<u64, String> {
    let size = bytes(text)?;
    let wrong = || format!("expected a whole number of bytes, not `{text}`");
    // A float has not all numbers above 2^53, so those without a fraction are read as integers.
    let digits = |char: char| char.is_ascii_digit() || char == '_';
    let (number, unit) = text
        .trim()
        .split_at_checked(text.trim().find(|char| !digits(char)).unwrap_or(text.trim().len()))
        .ok_or_else(wrong)?;
    if !unit.starts_with(['.', '+', '-']) {
        let one = bytes(&format!("1{unit}"))?;
        let number: u64 = number.replace('_', "").parse().map_err(|_| wrong())?;
        return number.checked_mul(one as u64).ok_or_else(wrong);
    }
    if size < 0.0 || size.fract() != 0.0 || size >= 9_007_199_254_740_992.0 {
        return Err(wrong());
    }
    Ok(size as u64)
}

/// The text of a number of bytes, in the largest unit of which it is a whole number.
#[cfg(feature = "config")]
pub(crate) fn whole(bytes: u64) -> String {
    let is_binary = |(name, _): &&(&str, f64)| name.len() == 3;
    for (name, size) in SIZES.iter().rev().filter(is_binary) {
        if let (Some(0), Some(count @ 1..)) = (bytes.checked_rem(*size as u64), bytes.checked_div(*size as u64)) {
            return format!("{count} {name}");
        }
    }
    format!("{bytes} B")
}

/// A number as a field of this unit has it.
///
/// # Errors
///
/// Why it is none, for people.
pub(crate) fn of(unit: Unit, text: &str) -> Result<f64, String> {
    let plain = |example: &str| match split(text) {
        Some((number, "")) => Ok(number),
        _ => Err(format!("expected a number in {unit}, such as `{example}`, not `{text}`")),
    };
    match unit {
        Unit::Bytes => bytes(text),
        Unit::BytesPerSecond => bytes(text.strip_suffix("/s").unwrap_or(text).trim_end()),
        Unit::CountPerSecond(_) => {
            let number = text.strip_suffix("/s").unwrap_or(text).trim_end();
            split(number)
                .filter(|(_, unit)| unit.is_empty())
                .map(|(number, _)| number)
                .ok_or_else(|| format!("expected a number per second, such as `100` or `100/s`, not `{text}`"))
        }
        Unit::Nanoseconds => match split(text) {
            Some((nanos, "")) => Ok(nanos),
            _ => humantime::parse_duration(text)
                .map(|duration| duration.as_secs_f64() * 1e9)
                .map_err(|why| format!("expected a duration, such as `250ms` or `1h 30m`: {why}")),
        },
        Unit::Fraction => match split(text) {
            Some((percent, "%")) => Ok(percent / 100.0),
            _ => plain("0.9` or `90%"),
        },
        Unit::Cores => plain("0.8"),
        Unit::Count(_) => plain("100"),
    }
}

/// The number, and the text after it. `inf` and `nan` are no numbers here.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let is_digit = |char: char| char.is_ascii_digit() || matches!(char, '.' | '_');
    let sign = usize::from(text.starts_with(['-', '+']));
    let end = text.get(sign..)?.find(|char| !is_digit(char)).map_or(text.len(), |end| end.saturating_add(sign));
    let (number, unit) = text.split_at_checked(end)?;
    let number: f64 = number.replace('_', "").parse().ok()?;
    number.is_finite().then_some((number, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", 0.0),
            ("1500", 1500.0),
            ("64 MiB", 67_108_864.0),
            ("64MiB", 67_108_864.0),
            ("64mib", 67_108_864.0),
            ("64 Mi", 67_108_864.0),
            ("1.5 kB", 1500.0),
            ("10 G", 1e10),
            ("10_000 B", 10_000.0),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "MiB", "1 MiX", "1..2", "inf", "NaN", "1e3000", "- 1", "1 M B"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(bytes("1 MiX").unwrap_err().contains("MiB"));
    }

    #[test]
    fn each_unit_reads_its_own() {
        assert_eq!(of(Unit::BytesPerSecond, "1 MiB/s"), Ok(1_048_576.0));
        assert_eq!(of(Unit::BytesPerSecond, "1 MiB"), Ok(1_048_576.0));
        assert_eq!(of(Unit::Nanoseconds, "250ms"), Ok(2.5e8));
        assert_eq!(of(Unit::Nanoseconds, "7"), Ok(7.0));
        assert_eq!(of(Unit::Fraction, "90%"), Ok(0.9));
        assert_eq!(of(Unit::Fraction, "0.9"), Ok(0.9));
        assert_eq!(of(Unit::CountPerSecond("{fault}"), "100/s"), Ok(100.0));
        assert_eq!(of(Unit::Cores, "-0.8"), Ok(-0.8));
        for (unit, text) in [(Unit::Cores, "80%"), (Unit::Count("{thread}"), "1 MiB"), (Unit::Nanoseconds, "5 parsecs")]
        {
            assert!(of(unit, text).is_err(), "{text}");
        }
    }
}
