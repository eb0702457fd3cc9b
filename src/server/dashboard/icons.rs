//! Icons: 16 by 16, in the colour of the text beside them. They say nothing that a word does not say as well.

use maud::{Markup, PreEscaped};

/// An icon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Icon {
    Check,
    Clock,
    Warning,
    Cross,
    Off,
    Copy,
    Search,
}

impl Icon {
    fn path(self) -> &'static str {
        match self {
            Self::Check => "M3.5 8.5l3 3 6-7",
            Self::Clock => "M8 4.5V8l2.5 1.5M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0z",
            Self::Warning => {
                "M8 6v3m0 2.2v.1M7.1 2.6L1.6 12.4a1 1 0 0 0 .9 1.6h11a1 1 0 0 0 .9-1.6L8.9 2.6a1 1 0 0 0-1.8 0z"
            }
            Self::Cross => "M4.5 4.5l7 7m0-7l-7 7",
            Self::Off => "M4 12l8-8M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0z",
            Self::Copy => "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
            Self::Search => "M10.5 10.5L14 14M12 7A5 5 0 1 1 2 7a5 5 0 0 1 10 0z",
        }
    }

    /// Returns it as SVG.
    pub(super) fn svg(self) -> Markup {
        PreEscaped(format!(
            "<svg class=\"icon\" viewBox=\"0 0 16 16\" width=\"16\" height=\"16\" aria-hidden=\"true\" fill=\"none\" \
             stroke=\"currentColor\" stroke-width=\"1.6\" stroke-linecap=\"round\" stroke-linejoin=\"round\">\
             <path d=\"{}\"/></svg>",
            self.path()
        ))
    }
}
