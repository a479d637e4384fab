//! Which word was meant by one that is not known.

/// The known word that an unknown one was probably meant to be: one that it begins, or is a long part of, or that a slip of the
/// keyboard makes of it. `None` rather than a word that only happens to be short.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// People do not write a longer one by mistake, and comparing takes the product of both lengths.
    const LONGEST: usize = 32;
    let length = word.chars().count();
    if length > LONGEST {
        return None;
    }
    let lower = word.to_lowercase();
    // One slip for three letters: with two, any word of three is near any other.
    let slips = length.max(3).checked_div(3).unwrap_or_default();
    let begins = |known: &str| length >= 3 && known.starts_with(&lower);
    let is_near = |known: &&str| {
        let is_part = begins(known) || (length >= 5 && known.contains(&lower));
        // A word of one or two letters is any word with a slip or two.
        is_part || lower == **known || (length >= 3 && distance(&lower, known) <= slips)
    };
    // `cmd` is the beginning of `cmdline` rather than a slip in `cwd`.
    known.filter(is_near).min_by_key(|known| (!begins(known), distance(&lower, known)))
}

/// How many characters must be added, removed or replaced to make the one of the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, from) in from.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (above, to) in row.iter_mut().skip(1).zip(to.chars()) {
            let replaced = diagonal.saturating_add(usize::from(from != to));
            diagonal = *above;
            left = replaced.min(left.saturating_add(1)).min(diagonal.saturating_add(1));
            *above = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (from, to, expected) in
            [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("usr", "user", 1)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn a_nearest_word_is_near() {
        const KNOWN: [&str; 14] = [
            "name",
            "exe",
            "cmdline",
            "cwd",
            "user",
            "group",
            "cgroup",
            "pid",
            "ppid",
            "uid",
            "gid",
            "unit",
            "age",
            "with_descendants",
        ];
        for (word, expected) in [
            ("usr", Some("user")),
            ("Name", Some("name")),
            ("NAME", Some("name")),
            ("cmd", Some("cmdline")),
            ("comandline", Some("cmdline")),
            ("cmdlin", Some("cmdline")),
            ("groups", Some("group")),
            ("descendants", Some("with_descendants")),
            ("withdescendants", Some("with_descendants")),
            ("piid", Some("pid")),
            // A short word is similar to many others, and means none of them.
            ("cpu", None),
            ("rss", None),
            ("io", None),
            ("zz", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, KNOWN.into_iter()), expected, "{word}");
        }
        assert_eq!(nearest(&"name".repeat(9), KNOWN.into_iter()), None);
    }
}
