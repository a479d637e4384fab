//! Styles, by meaning. The sixteen colours are the user's own, so they can be read on light and dark; nothing is shown by colour alone.

use ratatui::style::{Color, Modifier, Style};

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    Colours,
    /// As `NO_COLOR` asks for: bold, dim and reversed only.
    Plain,
}

impl Theme {
    /// As the environment asks for (no-color.org).
    pub(crate) fn from_env() -> Self {
        if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) { Self::Plain } else { Self::Colours }
    }

    fn colour(self, colour: Color) -> Style {
        if self == Self::Colours { Style::new().fg(colour) } else { Style::new() }
    }

    pub(crate) fn title(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    pub(crate) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(crate) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(crate) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(crate) fn good(self) -> Style {
        self.colour(Color::Green)
    }

    pub(crate) fn note(self) -> Style {
        self.colour(Color::Magenta)
    }

    pub(crate) fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Of a share from 0 to 1.
    pub(crate) fn share(self, share: f64) -> Style {
        match share {
            share if share >= 0.9 => self.bad(),
            share if share >= 0.7 => self.note(),
            _ => self.good(),
        }
    }

    /// The parts of a bar, one after the other.
    pub(crate) fn part(self, nth: usize) -> Style {
        const COLOURS: [Color; 5] = [Color::Blue, Color::Green, Color::Magenta, Color::Cyan, Color::Yellow];
        self.colour(COLOURS[nth % COLOURS.len()])
    }
}
