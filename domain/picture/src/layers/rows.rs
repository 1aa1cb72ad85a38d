//! From who stands above whom to where everybody stands.

use super::order::Item;
use super::{BAND_GAP, BAND_HEAD, Column, HEAD, MARGIN, Place, Scale};

/// Width of a picture by its height that fits a screen and a sheet of paper laid crosswise, with room to scroll.
const SHAPE: usize = 4;

/// Rows that a column of many recipes may have before it is wrapped; the one that comes nearest to the shape is taken.
const ROWS: [usize; 8] = [12, 16, 20, 24, 32, 40, 52, 68];

/// What a part of a column is about as wide as, in rows: to compare shapes before widths are known.
const PART_IN_ROWS: usize = 7;

/// Where an item stands in its band: which part of its column, and how far down in units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rank {
    pub(super) part: usize,
    /// In units for aligned items, in rows for wrapped ones.
    pub(super) down: usize,
}

/// Where items stand in their bands.
pub(super) struct Ranks {
    of: Vec<(usize, Rank)>,
    is_wrapped: bool,
}

/// Wraps columns so that the whole has a good shape.
pub(super) fn wrapped(stacks: &[Vec<Vec<usize>>]) -> Ranks {
    let columns = stacks.first().map_or(0, Vec::len);
    let shape_of = |rows: usize| {
        let parts_of =
            |column: usize| stacks.iter().map(|band| band[column].len().div_ceil(rows)).max().unwrap_or(0);
        let parts: usize = (0..columns).map(parts_of).sum();
        let rows_of =
            |band: &Vec<Vec<usize>>| band.iter().map(|stack| stack.len().min(rows)).max().unwrap_or(0);
        let high: usize = stacks.iter().map(rows_of).sum();
        (parts * PART_IN_ROWS).abs_diff(high * SHAPE)
    };
    let rows = ROWS.into_iter().min_by_key(|&rows| shape_of(rows)).unwrap_or(ROWS[0]);
    let mut of = Vec::new();
    for stack in stacks.iter().flatten() {
        // Parts of the same height: no column ends with a part of one recipe.
        let each = stack.len().div_ceil(stack.len().div_ceil(rows).max(1)).max(1);
        let rank =
            |(place, &index): (usize, &usize)| (index, Rank { part: place / each, down: place % each });
        of.extend(stack.iter().enumerate().map(rank));
    }
    Ranks { of, is_wrapped: true }
}

/// Puts every item as near to the height of its neighbours as the order in its column allows.
pub(super) fn aligned(items: &[Item], stacks: &[Vec<Vec<usize>>], scale: Scale) -> Ranks {
    let height = |index: usize| if items[index].recipe.is_some() { scale.row_pitch } else { scale.lane };
    let mut down = vec![0_usize; items.len()];
    for band in stacks {
        for stack in band {
            let mut next = 0;
            for &index in stack {
                down[index] = next;
                next += height(index);
            }
        }
        let forwards = (0..band.len()).map(|column| (column, false));
        let backwards = (0..band.len()).rev().map(|column| (column, true));
        for (column, is_back) in forwards.clone().chain(backwards).chain(forwards) {
            let stack = &band[column];
            let heights: Vec<usize> = stack.iter().map(|&index| height(index)).collect();
            let wished: Vec<usize> = stack
                .iter()
                .map(|&index| {
                    let near = if is_back { &items[index].right } else { &items[index].left };
                    // Neighbours in other bands stand elsewhere altogether.
                    let near = near.iter().filter(|&&other| items[other].band == items[index].band);
                    let middles: Vec<usize> = near.map(|&other| down[other] + height(other) / 2).collect();
                    match middles.len() {
                        0 => down[index],
                        count => (middles.iter().sum::<usize>() / count).saturating_sub(height(index) / 2),
                    }
                })
                .collect();
            for (&index, place) in stack.iter().zip(nearest(&wished, &heights)) {
                down[index] = place;
            }
        }
        let top = band.iter().flatten().map(|&index| down[index]).min().unwrap_or(0);
        for &index in band.iter().flatten() {
            down[index] -= top;
        }
    }
    let of = down.into_iter().enumerate().map(|(index, down)| (index, Rank { part: 0, down })).collect();
    Ranks { of, is_wrapped: false }
}

/// The places nearest to the wished ones at which things of these heights stand below each other without overlapping:
/// what is too close is joined and stands around the middle of what its members wish.
fn nearest(wished: &[usize], heights: &[usize]) -> Vec<usize> {
    // Places less what stands above must not fall: blocks that would fall are joined.
    let (mut above, mut blocks) = (0_usize, Vec::<(i64, i64)>::new());
    for (wish, height) in wished.iter().zip(heights) {
        let mut block = (signed(*wish) - signed(above), 1);
        above += height;
        while let Some(last) = blocks.last().copied() {
            if last.0 * block.1 <= block.0 * last.1 {
                break;
            }
            blocks.pop();
            block = (last.0 + block.0, last.1 + block.1);
        }
        blocks.push(block);
    }
    let mut places = Vec::with_capacity(wished.len());
    let (mut above, mut heights) = (0, heights.iter());
    for (sum, count) in blocks {
        let begin = (sum / count).max(0);
        for height in heights.by_ref().take(usize::try_from(count).unwrap_or(0)) {
            places.push(usize::try_from(begin).unwrap_or(0) + above);
            above += height;
        }
    }
    places
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX / 4)
}

/// What is put on the paper.
pub(super) struct Sheet<'s> {
    pub(super) items: &'s [Item],
    /// Length of each recipe's text.
    pub(super) characters: &'s [usize],
    pub(super) scale: Scale,
}

/// Everything on the paper.
pub(super) struct Spread {
    /// By recipe.
    pub(super) places: Vec<Place>,
    /// Left edge, right edge and middle of every item.
    ends: Vec<(usize, usize, usize)>,
    pub(super) columns: Vec<Column>,
    /// Upper edge and height of each band.
    pub(super) bands: Vec<(usize, usize)>,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Spread {
    /// Left edge, right edge and middle of an item.
    pub(super) fn ends(&self, item: usize) -> (usize, usize, usize) {
        self.ends.get(item).copied().unwrap_or_default()
    }
}

impl Sheet<'_> {
    pub(super) fn spread(&self, ranks: &Ranks, bands: usize) -> Spread {
        let mut rank_of = vec![Rank::default(); self.items.len()];
        for &(index, rank) in &ranks.of {
            rank_of[index] = rank;
        }
        let parts = self.parts(&rank_of);
        let columns = self.columns(&parts);
        let bands = self.bands(&rank_of, bands, ranks.is_wrapped);
        let mut places = Vec::new();
        let mut ends = Vec::with_capacity(self.items.len());
        for (item, rank) in self.items.iter().zip(&rank_of) {
            let (top, _) = bands.get(item.band).copied().unwrap_or_default();
            let head = if item.band + 1 < bands.len() { BAND_HEAD } else { 0 };
            let down = if ranks.is_wrapped { rank.down * self.scale.row_pitch } else { rank.down };
            let y = top + head + down;
            let column = columns[item.level];
            match item.recipe {
                Some(_) => {
                    let (x, width) = parts[item.level][rank.part];
                    let x = column.x + x;
                    places.push(Place { x, y, width, level: item.level });
                    ends.push((x, x + width, y + self.scale.cell_height / 2));
                }
                None => ends.push((column.x, column.x + column.width, y + self.scale.lane / 2)),
            }
        }
        let width = columns.last().map_or(0, |column| column.x + column.width) + MARGIN;
        let height = bands.iter().map(|(top, height)| top + height).max().unwrap_or(HEAD) + MARGIN;
        Spread { places, ends, columns, bands, width, height }
    }

    /// Distance from the left edge of its column, and width, of each part of each column.
    fn parts(&self, rank_of: &[Rank]) -> Vec<Vec<(usize, usize)>> {
        let columns = self.items.iter().map(|item| item.level + 1).max().unwrap_or(0);
        let mut parts: Vec<Vec<(usize, usize)>> = vec![Vec::new(); columns];
        for (item, rank) in self.items.iter().zip(rank_of) {
            let characters = item.recipe.and_then(|recipe| self.characters.get(recipe));
            let needed = characters.map_or(0, |characters| {
                characters * self.scale.character_hundredths / 100 + self.scale.padding
            });
            let parts = &mut parts[item.level];
            if parts.len() <= rank.part {
                parts.resize(rank.part + 1, (0, 0));
            }
            parts[rank.part].1 = parts[rank.part].1.max(needed);
        }
        for parts in &mut parts {
            let mut next = 0;
            for (x, width) in parts {
                *x = next;
                next += *width + self.scale.gap;
            }
        }
        parts
    }

    fn columns(&self, parts: &[Vec<(usize, usize)>]) -> Vec<Column> {
        let mut recipes = vec![0; parts.len()];
        for item in self.items.iter().filter(|item| item.recipe.is_some()) {
            recipes[item.level] += 1;
        }
        let mut next = 2 * MARGIN;
        let mut columns = Vec::with_capacity(parts.len());
        for (parts, recipes) in parts.iter().zip(recipes) {
            let width = parts.last().map_or(0, |(x, width)| x + width);
            columns.push(Column { x: next, width, recipes });
            next += width + self.scale.gutter;
        }
        columns
    }

    /// Upper edge and height of each band, one below the other; the last has no name above it.
    fn bands(&self, rank_of: &[Rank], bands: usize, is_wrapped: bool) -> Vec<(usize, usize)> {
        let mut heights = vec![0; bands];
        for (item, rank) in self.items.iter().zip(rank_of) {
            let down = if is_wrapped { rank.down * self.scale.row_pitch } else { rank.down };
            let below = if item.recipe.is_some() { self.scale.row_pitch } else { self.scale.lane };
            if let Some(height) = heights.get_mut(item.band) {
                *height = (down + below).max(*height);
            }
        }
        let mut next = HEAD + MARGIN;
        let mut places = Vec::with_capacity(bands);
        for (band, height) in heights.into_iter().enumerate() {
            let head = if band + 1 < bands { BAND_HEAD } else { 0 };
            places.push((next, head + height));
            next += if height > 0 { head + height + BAND_GAP } else { 0 };
        }
        places
    }
}
