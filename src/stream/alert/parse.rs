//! The parser of rules.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::rule::{Alert, Ask, Condition};
use crate::fault::Fault;
use crate::measured::{Field, FieldTable, Measured};
use crate::scanner::Scanner;
use crate::{Error, quantity};

/// Whether the first number is in this relation to the second.
type Compare = fn(f64, f64) -> bool;

/// The operators, ordered so that none is a prefix of a later one.
const OPERATORS: [(&str, Compare); 4] =
    [(">=", |a, b| a >= b), ("<=", |a, b| a <= b), (">", |a, b| a > b), ("<", |a, b| a < b)];

impl<T: Measured + 'static> FromStr for Alert<T> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parser = Parser { scanner: Scanner::new(text), table: FieldTable::new() };
        parser.rule().map_err(|fault| fault.explain("alert", text))
    }
}

struct Parser<'a, T> {
    scanner: Scanner<'a>,
    table: FieldTable<T>,
}

/// One comparison.
struct Comparison<T> {
    field: Field<T>,
    compare: Compare,
    bound: f64,
}

impl<'a, T: 'static> Parser<'a, T> {
    fn rule(mut self) -> Result<Alert<T>, Fault> {
        let raise = self.condition()?;
        let hold = self.hold()?;
        let (mut clear, mut clear_hold) = (None, Duration::ZERO);
        let comma = self.eat(",");
        if self.eat_word("until") {
            clear = Some(self.condition()?);
            clear_hold = self.hold()?;
        } else if comma {
            return Err(self.scanner.fault("expected `until`"));
        }
        self.scanner.skip_space();
        if !self.scanner.rest().is_empty() {
            return Err(self.scanner.fault("expected `and`, `for`, `, until` or the end"));
        }
        Ok(Alert { name: self.scanner.text().trim().into(), raise, hold, clear, clear_hold })
    }

    /// FIELD OPERATOR NUMBER [and …]
    fn condition(&mut self) -> Result<Condition<T>, Fault> {
        let first = self.comparison()?;
        let field = first.field.clone();
        let value: Ask<T, f64> = Arc::new(move |sample| field.value(sample).map(|number| number.to_f64()));
        let mut all = vec![first];
        while self.eat_word("and") {
            all.push(self.comparison()?);
        }
        let holds = move |sample: &T| {
            let mut known = true;
            for comparison in &all {
                match comparison.holds(sample) {
                    Some(true) => {}
                    // One false comparison decides, even if others are unknown.
                    Some(false) => return Some(false),
                    None => known = false,
                }
            }
            known.then_some(true)
        };
        Ok(Condition { holds: Arc::new(holds), value: Some(value) })
    }

    fn comparison(&mut self) -> Result<Comparison<T>, Fault> {
        self.scanner.skip_space();
        let start = self.scanner.at;
        let name = self.scanner.take_until(|char| !(char.is_alphanumeric() || matches!(char, '_' | '.')));
        if name.is_empty() {
            return Err(self.scanner.fault("expected a field, such as `cpu.cores`"));
        }
        let Some(field) = self.table.named(name).cloned() else {
            return Err(Fault::new(start, name.len(), self.table.unknown(name)));
        };
        self.scanner.skip_space();
        let Some((_, compare)) = OPERATORS.into_iter().find(|(operator, _)| self.eat(operator)) else {
            return Err(self.scanner.fault("expected one of `>`, `>=`, `<`, `<=`"));
        };
        self.scanner.skip_space();
        let start = self.scanner.at;
        let value = self.value();
        if value.is_empty() {
            return Err(self.scanner.fault(format!("expected a number in {}", field.unit())));
        }
        let bound = quantity::of(field.unit(), value).map_err(|why| Fault::new(start, value.len(), why))?;
        Ok(Comparison { field, compare, bound })
    }

    /// Takes the text before the next comma or keyword.
    fn value(&mut self) -> &'a str {
        let rest = self.scanner.rest();
        let comma = rest.find(',').unwrap_or(rest.len());
        let words = ["for", "and", "until"].into_iter().filter_map(|word| {
            let found = rest.match_indices(word).map(|(at, _)| at);
            let is_word = |at: &usize| {
                let before = rest.get(..*at).and_then(|before| before.chars().next_back());
                let after = rest.get(at.saturating_add(word.len())..).and_then(|after| after.chars().next());
                before.is_some_and(char::is_whitespace) && after.is_none_or(char::is_whitespace)
            };
            found.filter(is_word).min()
        });
        let end = words.fold(comma, usize::min);
        let value = rest.get(..end).unwrap_or_default().trim_end();
        self.scanner.at = self.scanner.at.saturating_add(value.len());
        value
    }

    /// [for DURATION]
    fn hold(&mut self) -> Result<Duration, Fault> {
        if !self.eat_word("for") {
            return Ok(Duration::ZERO);
        }
        self.scanner.skip_space();
        let start = self.scanner.at;
        let text = self.value();
        if text.is_empty() {
            return Err(self.scanner.fault("expected a duration, such as `30s`"));
        }
        humantime::parse_duration(text).map_err(|why| {
            Fault::new(start, text.len(), format!("expected a duration, such as `30s` or `1h 30m`: {why}"))
        })
    }

    fn eat(&mut self, token: &str) -> bool {
        self.scanner.skip_space();
        self.scanner.eat(token)
    }

    /// A word that is not there leaves the white space before it, where a fault is shown.
    fn eat_word(&mut self, word: &str) -> bool {
        let before = self.scanner.at;
        self.scanner.skip_space();
        let found = self.scanner.eat_word(word);
        if !found {
            self.scanner.at = before;
        }
        found
    }
}

impl<T> Comparison<T> {
    fn holds(&self, sample: &T) -> Option<bool> {
        self.field.value(sample).map(|number| (self.compare)(number.to_f64(), self.bound))
    }
}
