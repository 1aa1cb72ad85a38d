//! What the picture of a build order shows of the board: the way that takes longest, and how long things take.

use crate::world::Arena;

use super::Board;

/// How long a recipe takes, and everything that waits for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ways {
    /// How long its build is expected to take, on the reference machine.
    pub(crate) expected_ms: Option<u64>,
    /// The longest way of open tasks that begins with it.
    pub(crate) length_ms: u64,
}

impl Board {
    /// The sources on the critical path of an arena, from the one that is built first, and how long it takes on the
    /// reference machine.
    pub(crate) fn critical_path(&self, arena: &Arena) -> (Vec<String>, u64) {
        let Some(board) = self.arenas.get(arena) else { return (Vec::new(), 0) };
        let path = farm::map::critical_path(&board.graph, &board.queue, &board.lengths);
        let length_ms = path.first().and_then(|first| board.lengths.get(first.index())).copied().unwrap_or(0);
        (path.into_iter().map(|recipe| board.graph.source(recipe).to_owned()).collect(), length_ms)
    }

    /// How long a source takes, and what waits for it.
    pub(crate) fn ways(&self, arena: &Arena, source: &str) -> Ways {
        let expected = self.estimates.expected(source, &arena.architecture);
        let board = self.arenas.get(arena);
        let length_ms = board.and_then(|board| {
            let recipe = board.graph.by_source(source)?;
            board.lengths.get(recipe.index()).copied()
        });
        Ways {
            expected_ms: expected.map(farm::estimate::Expected::reference_ms),
            length_ms: length_ms.unwrap_or(0),
        }
    }
}
