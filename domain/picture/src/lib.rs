//! Pictures of a farm: where each thing goes on the paper, and the SVG that shows it.
//!
//! Everything here is a function from values to a layout, and from a layout to text: the same values give the same picture,
//! byte by byte. Colours are classes that a style sheet gives their meaning, so that a picture follows the reader's choice of
//! light or dark, and prints. Where colour says something, a sign, a pattern or a word says it too. All foreign text is
//! escaped here, once, so that whoever embeds a picture may take it as it is.
//!
//! What it does not do: it knows no tasks, builders or channels, only what they look like; and it reads no clock.

mod axis;
mod bits;
mod channel;
mod durations;
mod layers;
mod markup;
mod queue;
mod shares;
mod timeline;

pub use axis::{clock, step_ms};
pub use channel::{ChannelPicture, Flag, HISTORIES_MAX, HistoryMark, channel};
pub use durations::{Durations, Point, durations, median_ms};
pub use layers::{Band, Column, DENSE, Layers, Link, Place, ROOMY, Recipe, Scale, layers};
pub use markup::{escaped, shortened};
pub use queue::{Cell, QueuePicture, Sign, letters, queue, reading_order};
pub use shares::shares;
pub use timeline::{Bar, Builder, Ending, Timeline, lanes, timeline, usage};
