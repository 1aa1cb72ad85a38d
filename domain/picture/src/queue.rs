//! The build order as a picture: a map of everything at a glance, and below it the same with names, to move about in.
//!
//! The page it is on has at most some hundred kilobytes for 1,700 recipes, so cells of one state are one path, a stroke as
//! thick as a cell, and the map shows the same paths a second time. Attributes stand without quotes where HTML allows it.
//! Signs before names say what colours say.
//!
//! What it does not do: it chooses no columns or rows; [`crate::layers()`] does.

use crate::layers::{CHARACTERS_MAX, HEAD, Layers, Place};
use crate::markup::{escaped, put};

/// How a recipe stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sign {
    /// Nothing is to be done, and nothing is published.
    None,
    /// It waits for others.
    Waiting,
    /// It could be built now.
    Ready,
    /// Somebody keeps it from starting.
    Held,
    /// It is being built.
    Building,
    /// It is built, and on its way into the repository.
    Publishing,
    /// The repository has it.
    Published,
    /// Something is in its way that does not go away by itself.
    Blocked,
    /// Its build failed.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl Sign {
    /// Every one, in the order in which they are drawn.
    pub const ALL: [Sign; 10] = [
        Sign::None,
        Sign::Published,
        Sign::Waiting,
        Sign::Cancelled,
        Sign::Blocked,
        Sign::Held,
        Sign::Ready,
        Sign::Publishing,
        Sign::Building,
        Sign::Failed,
    ];

    /// The word for it, which is also the class of its cells.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Sign::None => "none",
            Sign::Waiting => "waiting",
            Sign::Ready => "ready",
            Sign::Held => "held",
            Sign::Building => "building",
            Sign::Publishing => "publishing",
            Sign::Published => "published",
            Sign::Blocked => "blocked",
            Sign::Failed => "failed",
            Sign::Cancelled => "cancelled",
        }
    }

    /// What stands before the name; nothing for the many that only wait.
    #[must_use]
    pub fn glyph(self) -> &'static str {
        match self {
            Sign::None | Sign::Waiting => "",
            Sign::Ready => "○",
            Sign::Held => "‖",
            Sign::Building => "►",
            Sign::Publishing => "↑",
            Sign::Published => "✓",
            Sign::Blocked => "⊘",
            Sign::Failed => "✕",
            Sign::Cancelled => "−",
        }
    }

    /// A letter for it, for lists of a thousand.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Sign::None => 'n',
            Sign::Waiting => 'w',
            Sign::Ready => 'r',
            Sign::Held => 'h',
            Sign::Building => 'b',
            Sign::Publishing => 'u',
            Sign::Published => 'p',
            Sign::Blocked => 'o',
            Sign::Failed => 'f',
            Sign::Cancelled => 'c',
        }
    }

    /// Whether its names stand out among the many others.
    fn is_bold(self) -> bool {
        matches!(self, Sign::Building | Sign::Failed | Sign::Publishing)
    }

    /// Whether cells have a pattern besides their colour: those that somebody should look at.
    fn has_pattern(self) -> bool {
        matches!(self, Sign::Blocked | Sign::Failed)
    }
}

/// What is shown of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub sign: Sign,
    /// Where its name leads to; none for nowhere.
    pub address: Option<String>,
}

/// A build order to draw.
#[derive(Debug, Clone, Copy)]
pub struct QueuePicture<'a> {
    /// Where everything stands.
    pub layers: &'a Layers,
    /// What is shown of each recipe that was laid out, in the same order.
    pub cells: &'a [Cell],
    /// The recipes of the critical path, in order.
    pub critical: &'a [usize],
    /// Who is built against the previous generation of whom.
    pub deferred: &'a [(usize, usize)],
    /// Recipes to be found at once.
    pub found: &'a [usize],
}

/// Draws it as HTML. Colours are those of the page's style sheet.
#[must_use]
pub fn queue(picture: &QueuePicture<'_>) -> String {
    let (width, height) = (picture.layers.width, picture.layers.height);
    let kind = if picture.layers.has_all_links { "roomy" } else { "dense" };
    let count = picture.layers.places.iter().flatten().count();
    let mut html = String::with_capacity(count * 96 + 4096);
    put!(
        html,
        "<div class=\"queue {kind}\"><svg id=q-map viewBox=\"0 {HEAD} {width} {}\" preserveAspectRatio=none \
         aria-hidden=true focusable=false><use href=#q-all /><rect id=q-window width=0 height=0 /></svg>\n\
         <div id=q-frame tabindex=0 role=region aria-label=\"build order, from left to right\">\
         <svg id=q-svg width={width} height={height} viewBox=\"0 0 {width} {height}\" \
         data-cell={} data-pitch={} data-signs=\"{}\" role=group aria-label=\"{count} recipes\">\n{PATTERNS}<g id=q-all class={kind}>",
        height.saturating_sub(HEAD),
        picture.layers.scale.cell_height,
        picture.layers.scale.row_pitch,
        signs(),
    );
    picture.bands(&mut html);
    picture.links(&mut html);
    picture.cells(&mut html);
    picture.marks(&mut html);
    html.push_str("</g><g id=q-near></g>\n");
    picture.heads(&mut html);
    picture.names(&mut html);
    html.push_str("</svg></div></div>");
    html
}

/// The letter of each recipe that has a place, from left to right and from top to bottom: the order of the names in the
/// picture.
#[must_use]
pub fn letters(layers: &Layers, cells: &[Cell]) -> String {
    reading_order(layers).into_iter().filter_map(|index| Some(cells.get(index)?.sign.letter())).collect()
}

/// Recipes in the order in which they are read: column by column, part by part, from top to bottom.
#[must_use]
pub fn reading_order(layers: &Layers) -> Vec<usize> {
    let mut order: Vec<(usize, usize, usize)> = Vec::new();
    for (index, place) in layers.places.iter().enumerate() {
        order.extend(place.map(|place| (place.x, place.y, index)));
    }
    order.sort_unstable();
    order.into_iter().map(|(_, _, index)| index).collect()
}

/// Every sign for the script, which changes cells: letter, word, whether it is bold, and glyph, four words of a list.
fn signs() -> String {
    let sign = |sign: Sign| {
        let weight = if sign.is_bold() { "bold" } else { "plain" };
        format!("{} {} {weight} {}", sign.letter(), sign.word(), sign.glyph())
    };
    Sign::ALL.map(sign).join(",")
}

const PATTERNS: &str = "<defs><pattern id=q-blocked width=6 height=6 patternUnits=userSpaceOnUse \
    patternTransform=rotate(45)><path class=hatch d=M0,0v6 /></pattern><pattern id=q-failed width=5 height=5 \
    patternUnits=userSpaceOnUse patternTransform=rotate(45)><path class=hatch d=M0,0v5M0,0h5 /></pattern></defs>\n";

impl QueuePicture<'_> {
    fn place(&self, recipe: usize) -> Option<Place> {
        self.layers.places.get(recipe).copied().flatten()
    }

    fn bands(&self, html: &mut String) {
        for band in &self.layers.bands {
            put!(
                html,
                "<g class=knot><rect x={} y={} width={} height={} rx=8 /><text x={} y={}>{} recipes that need each \
                 other</text></g>",
                band.x,
                band.y,
                band.width,
                band.height,
                band.x + 10,
                band.y + 15,
                band.members,
            );
        }
    }

    fn links(&self, html: &mut String) {
        html.push_str("<path class=links d=\"");
        for link in &self.layers.links {
            let ((x1, y1), (x2, y2)) = (link.from, link.to);
            match (self.layers.has_all_links && y1 != y2, i64_of(y2) - i64_of(y1)) {
                (true, _) => {
                    let middle = (x1 + x2) / 2;
                    put!(html, "M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}");
                }
                (false, 0) => put!(html, "M{x1} {y1}h{}", x2 - x1),
                (false, down) => put!(html, "M{x1} {y1}l{} {down}", x2 - x1),
            }
        }
        html.push_str("\"/><path class=deferred d=\"");
        for &(user, needed) in self.deferred {
            let (Some(user), Some(needed)) = (self.place(user), self.place(needed)) else { continue };
            let below = |place: Place| (place.x + place.width / 2, place.y + self.layers.scale.cell_height);
            let is_in_band =
                self.layers.bands.iter().any(|band| (band.y..band.y + band.height).contains(&user.y));
            if self.layers.has_all_links || !is_in_band {
                let ((x1, y1), (x2, y2)) = (below(user), below(needed));
                let deep = y1.max(y2) + 24;
                put!(html, "M{x1} {y1}C{x1} {deep} {x2} {deep} {x2} {y2}");
            }
        }
        html.push_str("\"/>");
    }

    /// A path for each state: strokes as thick as a cell.
    fn cells(&self, html: &mut String) {
        let half = self.layers.scale.cell_height / 2;
        let order = reading_order(self.layers);
        html.push_str("<g id=q-cells>");
        for sign in Sign::ALL {
            let of_sign =
                order.iter().filter(|&&index| self.cells.get(index).is_some_and(|cell| cell.sign == sign));
            let mut path = String::new();
            let mut before: Option<Place> = None;
            for place in of_sign.filter_map(|&index| self.place(index)) {
                let Place { x, y, width, .. } = place;
                match before.filter(|before| before.x == x) {
                    Some(above) => put!(path, "m-{width} {}h{width}", y - above.y),
                    None => put!(path, "M{x} {}h{width}", y + half),
                }
                before = Some(place);
            }
            let word = sign.word();
            // Also where nobody has it: the script moves cells from one to another.
            put!(html, "<g class=\"cells {word}\"><path id=q-c-{word} d=\"{path}\"/></g>");
            if sign.has_pattern() {
                put!(html, "<use href=#q-c-{word} stroke=url(#q-{word}) />");
            }
        }
        html.push_str("</g>");
    }

    /// The critical path, and what was looked for.
    fn marks(&self, html: &mut String) {
        let high = self.layers.scale.cell_height;
        let frame = |html: &mut String, place: Place| {
            let Place { x, y, width, .. } = place;
            put!(html, "M{x} {y}h{width}v{high}h-{width}z");
        };
        html.push_str("<path id=q-critical d=\"");
        let mut before: Option<Place> = None;
        for place in self.critical.iter().filter_map(|&recipe| self.place(recipe)) {
            if let Some(before) = before {
                let (x1, y1) = (before.x + before.width, before.y + high / 2);
                let (x2, y2) = (place.x, place.y + high / 2);
                let middle = (x1 + x2) / 2;
                put!(html, "M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}");
            }
            frame(html, place);
            before = Some(place);
        }
        html.push_str("\"/><path id=q-found d=\"");
        for place in self.found.iter().filter_map(|&recipe| self.place(recipe)) {
            frame(html, place);
        }
        html.push_str("\"/>");
    }

    fn heads(&self, html: &mut String) {
        html.push_str("<g class=heads>");
        for (level, column) in self.layers.columns.iter().enumerate() {
            put!(html, "<text x={} y=16>{level}</text>", column.x);
        }
        html.push_str("</g>\n");
    }

    /// Names as links: a list of lines for each run of cells that stand right below each other.
    fn names(&self, html: &mut String) {
        let scale = self.layers.scale;
        let order = reading_order(self.layers);
        let places = order.iter().filter_map(|&index| Some((index, self.place(index)?)));
        let places: Vec<(usize, Place)> = places.collect();
        let is_next = |one: &(usize, Place), other: &(usize, Place)| {
            one.1.x == other.1.x && one.1.y + scale.row_pitch == other.1.y
        };
        html.push_str("<g class=names>");
        for run in places.chunk_by(is_next) {
            let Some((_, first)) = run.first() else { continue };
            let height = (run.len() - 1) * scale.row_pitch + scale.cell_height;
            put!(html, "<foreignObject x={} y={} width={} height={height}>", first.x, first.y, first.width);
            for cell in run.iter().filter_map(|(index, _)| self.cells.get(*index)) {
                name(html, cell);
            }
            html.push_str("</foreignObject>\n");
        }
        html.push_str("</g>\n");
    }
}

fn name(html: &mut String, cell: &Cell) {
    html.push_str("<a");
    if cell.sign.is_bold() {
        put!(html, " class={}", cell.sign.word());
    }
    if let Some(address) = &cell.address {
        let is_plain = address.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._".contains(&byte));
        let quote = if is_plain { "" } else { "\"" };
        put!(html, " href={quote}{}{quote}", escaped(address));
    }
    if cell.name.chars().count() > CHARACTERS_MAX {
        put!(html, " title=\"{}\"", escaped(&cell.name));
    }
    let glyph = cell.sign.glyph();
    let space = if glyph.is_empty() { "" } else { " " };
    put!(html, ">{glyph}{space}{}</a>", escaped(&cell.name));
}

fn i64_of(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
