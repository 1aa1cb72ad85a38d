//! Where each recipe of a build order stands: columns from left to right, so that whatever is needed is further left.
//!
//! The column of a recipe is the length of the longest way to it, over recipes that are shown: the first moment at which it
//! could be built by a farm with any number of builders. Recipes that are not shown have no place and pass ways on, so an
//! order stays an order when its middle is left out.
//!
//! Members of a large knot stand in a band of their own, above all others. In a picture of few recipes every edge of the
//! transitive reduction is drawn, in lanes that edges of the same recipe share; in a picture of many the recipes are close
//! cells, columns are wrapped, and only edges between neighbouring columns are drawn: the others would be a grey cloud.
//!
//! The same recipes and edges give the same layout. What state anything is in does not matter to it, so that nothing moves
//! while builds go on.

mod order;
mod rows;

use std::collections::BTreeMap;

use crate::bits::Sets;
use order::Item;

/// A recipe of a build order. They are given in an order in which they could be built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipe {
    /// Indices of those it waits for. One that is not smaller than its own is passed over.
    pub needs: Vec<usize>,
    /// Which knot it belongs to.
    pub knot: Option<usize>,
    /// Length of the text in its cell.
    pub characters: usize,
    /// Whether it has a place in the picture.
    pub is_shown: bool,
}

/// How large things are drawn, in units of the picture: a pixel on a screen at its own size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Height of a cell.
    pub cell_height: usize,
    /// Distance from one cell to the one below it.
    pub row_pitch: usize,
    /// Room between columns for edges.
    pub gutter: usize,
    /// Room between the parts of a wrapped column.
    pub gap: usize,
    /// Width of a character, in hundredths, on the safe side.
    pub character_hundredths: usize,
    /// Room for a sign and the edges of a cell.
    pub padding: usize,
    /// Height of a lane for edges.
    pub lane: usize,
}

/// Boxes with all their edges.
pub const ROOMY: Scale = Scale {
    cell_height: 24,
    row_pitch: 32,
    gutter: 56,
    gap: 10,
    character_hundredths: 690,
    padding: 26,
    lane: 9,
};

/// Close cells.
pub const DENSE: Scale = Scale {
    cell_height: 14,
    row_pitch: 16,
    gutter: 22,
    gap: 5,
    character_hundredths: 570,
    padding: 22,
    lane: 0,
};

/// Recipes up to which boxes with all their edges can be followed by eye.
const ROOMY_RECIPES_MAX: usize = 120;

/// Lanes up to which edges can be followed by eye.
const ROOMY_LANES_MAX: usize = 240;

/// Edges that a picture of many recipes shows at most: more are a grey cloud, and a page that is slow to load.
const DENSE_LINKS_MAX: usize = 900;

/// Members from which a knot has a band of its own.
const BAND_MEMBERS_MIN: usize = 3;

/// Knots that have a band of their own at most: the largest.
const BANDS_MAX: usize = 8;

/// Characters of a name that a cell makes room for.
pub(crate) const CHARACTERS_MAX: usize = 26;

/// Room above the columns for their numbers.
pub(crate) const HEAD: usize = 24;

/// Room around everything, above a band for its name, and between bands.
const MARGIN: usize = 10;
const BAND_HEAD: usize = 20;
const BAND_GAP: usize = 16;

/// Where a recipe stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Left edge.
    pub x: usize,
    /// Upper edge.
    pub y: usize,
    /// Width of its cell.
    pub width: usize,
    /// Its column, from 0.
    pub level: usize,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Left edge.
    pub x: usize,
    /// Width of all its parts together.
    pub width: usize,
    /// How many recipes stand in it.
    pub recipes: usize,
}

/// Recipes that need each other, in a place of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Band {
    /// Which knot it is.
    pub knot: usize,
    /// How many of its members are shown.
    pub members: usize,
    /// Left edge.
    pub x: usize,
    /// Upper edge.
    pub y: usize,
    /// Width.
    pub width: usize,
    /// Height.
    pub height: usize,
}

/// A piece of an edge, from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Where it begins.
    pub from: (usize, usize),
    /// Where it ends.
    pub to: (usize, usize),
}

/// A layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// How large things are.
    pub scale: Scale,
    /// Whether the edges of the transitive reduction are all there.
    pub has_all_links: bool,
    /// Places of the recipes that were given; none for one that is not shown.
    pub places: Vec<Option<Place>>,
    /// Columns from left to right.
    pub columns: Vec<Column>,
    /// Knots with a place of their own.
    pub bands: Vec<Band>,
    /// Pieces of edges, in order, each once.
    pub links: Vec<Link>,
    /// Width of everything.
    pub width: usize,
    /// Height of everything.
    pub height: usize,
}

/// Lays out a build order.
#[must_use]
pub fn layers(recipes: &[Recipe]) -> Layers {
    let shown: Vec<usize> =
        recipes.iter().enumerate().filter(|(_, recipe)| recipe.is_shown).map(|(index, _)| index).collect();
    let levels = levels(recipes);
    let levels: Vec<usize> = shown.iter().map(|&index| levels[index]).collect();
    let needs = reduced(recipes, &shown);
    let (knots, band_of) = bands(recipes, &shown);
    let lanes = order::lane_count(&levels, &needs);
    let is_roomy = shown.len() <= ROOMY_RECIPES_MAX && lanes <= ROOMY_LANES_MAX;
    let scale = if is_roomy { ROOMY } else { DENSE };
    let items = order::items(&levels, &needs, &band_of, is_roomy);
    let stacks = order::stacks(&items, knots.len() + 1);
    let characters: Vec<usize> =
        shown.iter().map(|&index| recipes[index].characters.min(CHARACTERS_MAX)).collect();
    let ranks = if is_roomy { rows::aligned(&items, &stacks, scale) } else { rows::wrapped(&stacks) };
    let sheet = rows::Sheet { items: &items, characters: &characters, scale };
    let spread = sheet.spread(&ranks, knots.len() + 1);
    let mut places = vec![None; recipes.len()];
    for (number, &index) in shown.iter().enumerate() {
        places[index] = spread.places.get(number).copied();
    }
    let bands = knots.iter().enumerate().map(|(band, &(knot, members))| {
        let inside =
            spread.places.iter().zip(&band_of).filter(|(_, of)| **of == band).map(|(place, _)| place);
        let x = inside.clone().map(|place| place.x).min().unwrap_or(0);
        let right = inside.clone().map(|place| place.x + place.width).max().unwrap_or(0);
        let (y, height) = spread.bands.get(band).copied().unwrap_or_default();
        Band {
            knot,
            members,
            x: x.saturating_sub(MARGIN),
            y,
            width: right.saturating_sub(x) + 2 * MARGIN,
            height,
        }
    });
    Layers {
        scale,
        has_all_links: is_roomy,
        bands: bands.collect(),
        links: links(&items, &needs, &spread, is_roomy),
        places,
        width: spread.width,
        height: spread.height,
        columns: spread.columns,
    }
}

/// The length of the longest way to each recipe, in shown recipes.
fn levels(recipes: &[Recipe]) -> Vec<usize> {
    let mut levels: Vec<usize> = Vec::with_capacity(recipes.len());
    for recipe in recipes {
        // What comes later in the order has no level yet and is passed over.
        let below = recipe.needs.iter().filter_map(|&need| {
            let level = levels.get(need)?;
            Some(level + usize::from(recipes[need].is_shown))
        });
        let level = below.max().unwrap_or(0);
        levels.push(level);
    }
    levels
}

/// The edges between shown recipes that do not follow from others, as numbers among the shown, by who needs.
fn reduced(recipes: &[Recipe], shown: &[usize]) -> Vec<Vec<usize>> {
    let mut number = vec![None; recipes.len()];
    for (place, &index) in shown.iter().enumerate() {
        number[index] = Some(place);
    }
    let mut near = Sets::new(recipes.len(), shown.len());
    let mut far = Sets::new(recipes.len(), shown.len());
    for (index, recipe) in recipes.iter().enumerate() {
        for &need in recipe.needs.iter().filter(|&&need| need < index) {
            match number[need] {
                Some(needed) => near.insert(index, needed),
                None => near.add_row(index, need),
            }
        }
        for needed in near.of(index) {
            far.add_row(index, shown[needed]);
            for further in near.of(shown[needed]) {
                far.insert(index, further);
            }
        }
    }
    let of = |&index: &usize| near.of(index).into_iter().filter(|&needed| !far.has(index, needed)).collect();
    shown.iter().map(of).collect()
}

/// The knots that have a band, the largest first, with how many of their members are shown; and the band of each shown
/// recipe: the last one for all others.
fn bands(recipes: &[Recipe], shown: &[usize]) -> (Vec<(usize, usize)>, Vec<usize>) {
    let mut members: BTreeMap<usize, usize> = BTreeMap::new();
    for knot in shown.iter().filter_map(|&index| recipes[index].knot) {
        *members.entry(knot).or_default() += 1;
    }
    let mut knots: Vec<(usize, usize)> =
        members.into_iter().filter(|&(_, count)| count >= BAND_MEMBERS_MIN).collect();
    knots.sort_by_key(|&(knot, count)| (std::cmp::Reverse(count), knot));
    knots.truncate(BANDS_MAX);
    let of = |&index: &usize| {
        let knot = recipes[index].knot;
        knots.iter().position(|&(known, _)| Some(known) == knot).unwrap_or(knots.len())
    };
    let band_of = shown.iter().map(of).collect();
    (knots, band_of)
}

fn links(items: &[Item], needs: &[Vec<usize>], spread: &rows::Spread, is_roomy: bool) -> Vec<Link> {
    let mut links = Vec::new();
    if is_roomy {
        for (index, item) in items.iter().enumerate() {
            let (left, right, middle) = spread.ends(index);
            if item.recipe.is_none() {
                links.push(Link { from: (left, middle), to: (right, middle) });
            }
            for &next in &item.right {
                let (to, _, to_middle) = spread.ends(next);
                links.push(Link { from: (right, middle), to: (to, to_middle) });
            }
        }
    } else {
        // The edges that decide in which column somebody stands; where they are too many, one for each.
        let deciding = |user: usize| {
            let level = items[user].level;
            needs[user].iter().copied().filter(move |&needed| items[needed].level + 1 == level)
        };
        let count: usize = (0..needs.len()).map(|user| deciding(user).count()).sum();
        let each = if count > DENSE_LINKS_MAX { 1 } else { usize::MAX };
        for user in 0..needs.len() {
            for needed in deciding(user).take(each) {
                let ((_, from, from_middle), (to, _, to_middle)) = (spread.ends(needed), spread.ends(user));
                links.push(Link { from: (from, from_middle), to: (to, to_middle) });
            }
        }
    }
    links.sort_unstable();
    links.dedup();
    links
}

#[cfg(test)]
pub(crate) mod tests;
