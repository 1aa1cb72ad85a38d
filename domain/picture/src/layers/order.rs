//! Who stands above whom in a column: near to what it is joined to.

/// Rounds of putting everybody near their neighbours. After three nothing visible changes.
const ROUNDS: usize = 4;

/// A recipe, or a lane in which edges of a recipe pass a column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Item {
    /// Number of the recipe among those that are shown; none for a lane.
    pub(super) recipe: Option<usize>,
    pub(super) level: usize,
    pub(super) band: usize,
    /// Items of lower columns that it is joined to.
    pub(super) left: Vec<usize>,
    /// Items of higher columns that it is joined to.
    pub(super) right: Vec<usize>,
}

/// The lanes that are needed so that every edge can be drawn: one for each recipe and column that edges from it pass.
pub(super) fn lane_count(levels: &[usize], needs: &[Vec<usize>]) -> usize {
    let ends = furthest(levels, needs);
    ends.iter().zip(levels).map(|(end, level)| end.saturating_sub(level + 1)).sum()
}

/// The highest column that needs each recipe.
fn furthest(levels: &[usize], needs: &[Vec<usize>]) -> Vec<usize> {
    let mut ends = levels.to_vec();
    for (user, needed) in needs.iter().enumerate() {
        for &needed in needed {
            ends[needed] = ends[needed].max(levels[user]);
        }
    }
    ends
}

/// The recipes first, in their order, then the lanes.
pub(super) fn items(
    levels: &[usize],
    needs: &[Vec<usize>],
    band_of: &[usize],
    with_lanes: bool,
) -> Vec<Item> {
    let recipe = |(number, (&level, &band)): (usize, (&usize, &usize))| Item {
        recipe: Some(number),
        level,
        band,
        ..Item::default()
    };
    let mut items: Vec<Item> = levels.iter().zip(band_of).enumerate().map(recipe).collect();
    // For each recipe, its lanes from the column right of it on.
    let mut lanes: Vec<Vec<usize>> = vec![Vec::new(); levels.len()];
    if with_lanes {
        for (number, end) in furthest(levels, needs).into_iter().enumerate() {
            for level in levels[number] + 1..end {
                lanes[number].push(items.len());
                items.push(Item { level, band: band_of[number], ..Item::default() });
            }
            let way: Vec<usize> = std::iter::once(number).chain(lanes[number].iter().copied()).collect();
            for pair in way.windows(2) {
                join(&mut items, pair[0], pair[1]);
            }
        }
    }
    for (user, needed) in needs.iter().enumerate() {
        for &needed in needed {
            let passed = levels[user].saturating_sub(levels[needed] + 1);
            let from = passed.checked_sub(1).and_then(|last| lanes[needed].get(last));
            join(&mut items, from.copied().unwrap_or(needed), user);
        }
    }
    items
}

fn join(items: &mut [Item], left: usize, right: usize) {
    items[left].right.push(right);
    items[right].left.push(left);
}

/// The items of each band and column, from top to bottom: by band, then by column.
pub(super) fn stacks(items: &[Item], bands: usize) -> Vec<Vec<Vec<usize>>> {
    let columns = items.iter().map(|item| item.level + 1).max().unwrap_or(0);
    let mut stacks = vec![vec![Vec::new(); columns]; bands];
    for (index, item) in items.iter().enumerate() {
        stacks[item.band][item.level].push(index);
    }
    let heights = heights(items);
    for stack in stacks.iter_mut().flatten() {
        // At first, who has the longest way above stands highest.
        stack.sort_by_key(|&index| (std::cmp::Reverse(heights[index]), index));
    }
    let mut places = vec![0; items.len()];
    note(&stacks, &mut places, 0..columns);
    for _ in 0..ROUNDS {
        for column in 0..columns {
            settle(&mut stacks, column, &mut places, |index| &items[index].left);
        }
        for column in (0..columns).rev() {
            settle(&mut stacks, column, &mut places, |index| &items[index].right);
        }
    }
    stacks
}

/// The longest way that begins with each item.
fn heights(items: &[Item]) -> Vec<usize> {
    let mut by_level: Vec<usize> = (0..items.len()).collect();
    by_level.sort_by_key(|&index| std::cmp::Reverse(items[index].level));
    let mut heights = vec![0; items.len()];
    for index in by_level {
        let above = items[index].right.iter().map(|&next| heights[next] + 1);
        heights[index] = above.max().unwrap_or(0);
    }
    heights
}

/// Notes for each item how far down it stands in its stack, in millionths.
fn note(stacks: &[Vec<Vec<usize>>], places: &mut [usize], columns: std::ops::Range<usize>) {
    for stack in stacks.iter().flat_map(|band| &band[columns.clone()]) {
        for (rank, &index) in stack.iter().enumerate() {
            places[index] = (2 * rank + 1) * 500_000 / stack.len();
        }
    }
}

/// Puts each item of a column beside the middle of its neighbours on one side.
fn settle<'i>(
    stacks: &mut [Vec<Vec<usize>>],
    column: usize,
    places: &mut [usize],
    neighbours: impl Fn(usize) -> &'i Vec<usize>,
) {
    for band in stacks.iter_mut() {
        let middle = |&index: &usize| {
            let near = neighbours(index);
            match near.len() {
                0 => places[index],
                count => near.iter().map(|&other| places[other]).sum::<usize>() / count,
            }
        };
        band[column].sort_by_cached_key(middle);
    }
    note(stacks, places, column..column + 1);
}
