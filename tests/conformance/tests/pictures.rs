//! The order of all real recipes as a picture: in time for a page, small enough for one, and readable.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the tests themselves do")]

use std::time::Instant;

use farm::graph::{Graph, HostProvides, Supply};
use farm::ids::TaskId;
use farm::published::Published;
use farm::queue::{OpenTask, Queue};
use farm::task::Phase;
use farm::{critical_path, map};
use picture::{Cell, QueuePicture, Sign};

fn graph() -> Option<Graph> {
    let path = testkit::data()?.join("recipes-dev.tar.zst");
    let Ok(file) = fs_err::File::open(&path) else {
        testkit::skip("recipes-dev.tar.zst");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut archive = tar::Archive::new(zstd::Decoder::new(file).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        if [".bin", "/stone.yaml"].iter().any(|ending| path.ends_with(ending)) {
            entry.unpack_in(folder.path()).unwrap();
        }
    }
    let catalogue =
        summit::recipes::read_folder(&folder.path().join("recipes-dev/recipes"), "x86_64").unwrap();
    let nothing = Published::default();
    Some(Graph::new(&catalogue, &Supply { own: &nothing, others: &[], host: HostProvides::Everything }))
}

#[test]
fn all_real_recipes_are_a_page_that_can_be_read() {
    let Some(graph) = graph() else { return };
    let (order, recipes) = map::recipes(&graph, |_| true);
    let began = Instant::now();
    let layers = picture::layers(&recipes);
    let took = began.elapsed();
    let limit_ms = if cfg!(debug_assertions) { 500 } else { 50 };
    assert!(took.as_millis() < limit_ms, "{took:?}");
    assert_eq!(layers.bands.len(), 1, "the knot of 373 has a band; those of two do not");
    assert!((300..400).contains(&layers.bands[0].members), "{:?}", layers.bands);

    // Some hundred are published, some are being built, and two have failed.
    let failed = [order[700], order[1100]];
    let mut is_stuck = vec![false; order.len()];
    for index in 0..order.len() {
        is_stuck[index] =
            failed.contains(&order[index]) || recipes[index].needs.iter().any(|&need| is_stuck[need]);
    }
    let sign = |index: usize| match index {
        0..300 => Sign::Published,
        300..304 => Sign::Building,
        304..306 => Sign::Publishing,
        index if failed.contains(&order[index]) => Sign::Failed,
        index if is_stuck[index] => Sign::Blocked,
        index if recipes[index].needs.iter().all(|&need| need < 300) => Sign::Ready,
        _ => Sign::Waiting,
    };
    let cell = |(index, recipe): (usize, &farm::ids::RecipeId)| Cell {
        name: graph.source(*recipe).to_owned(),
        sign: sign(index),
        address: Some(format!("tasks/{}", 1000 + index)),
    };
    let cells: Vec<Cell> = order.iter().enumerate().map(cell).collect();
    let open = order.iter().enumerate().skip(300).map(|(index, &recipe)| {
        (recipe, OpenTask { id: TaskId(u64::try_from(index).unwrap()), phase: Phase::Waiting })
    });
    let queue = Queue::new(&graph, open);
    let lengths = critical_path::lengths(&graph, &queue, |_| None);
    let path = map::critical_path(&graph, &queue, &lengths);
    assert!(path.len() > 20, "{path:?}");
    let critical: Vec<usize> =
        path.iter().filter_map(|recipe| order.iter().position(|known| known == recipe)).collect();
    let html = picture::queue(&QueuePicture {
        layers: &layers,
        cells: &cells,
        critical: &critical,
        deferred: &[],
        found: &[],
    });
    // Kept to be looked at.
    fs_err::write(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("queue.html"), &html).unwrap();
    assert!(html.len() < 120_000, "{} bytes of a page that may have 150,000", html.len());
    for &recipe in &order {
        let name = graph.source(recipe);
        assert!(html.contains(&format!("{name}</a>")), "{name}");
    }
}
