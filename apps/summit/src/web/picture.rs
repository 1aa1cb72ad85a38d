//! The build order as a picture: a column for each level, arrows from what is needed to what needs it.

use maud::{Markup, html};

use super::view::QueueView;

const BOX_WIDTH: usize = 170;
const BOX_HEIGHT: usize = 42;
const COLUMN_WIDTH: usize = 240;
const ROW_HEIGHT: usize = 58;
const MARGIN: usize = 16;

/// Boxes above which the picture would be a grey cloud; the list below it says the same.
const BOXES_MAX: usize = 400;

/// The picture; none when there is nothing to draw, or too much.
pub(crate) fn draw(queue: &QueueView) -> Option<Markup> {
    if queue.nodes.is_empty() || queue.nodes.len() > BOXES_MAX {
        return None;
    }
    let mut rows_of_level: Vec<usize> = Vec::new();
    let places: Vec<(usize, usize)> = queue
        .nodes
        .iter()
        .map(|node| {
            if rows_of_level.len() <= node.level {
                rows_of_level.resize(node.level + 1, 0);
            }
            let row = rows_of_level[node.level];
            rows_of_level[node.level] += 1;
            (MARGIN + node.level * COLUMN_WIDTH, MARGIN + row * ROW_HEIGHT)
        })
        .collect();
    let width = 2 * MARGIN + rows_of_level.len().saturating_sub(1) * COLUMN_WIDTH + BOX_WIDTH;
    let height = 2 * MARGIN + rows_of_level.iter().max().copied().unwrap_or(1) * ROW_HEIGHT;
    Some(html! {
        div.picture {
            svg viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) role="img" aria-label="build order" {
                @for edge in &queue.edges {
                    @if let (Some(from), Some(to)) = (places.get(edge.to), places.get(edge.from)) {
                        path class=(if edge.deferred { "edge deferred" } else { "edge" }) d=(curve(*from, *to)) {
                            title { (edge.dependencies.join(", ")) }
                        }
                    }
                }
                @for (node, (x, y)) in queue.nodes.iter().zip(&places) {
                    @let phase = node.phase.map_or("none", |phase| phase.keyword());
                    a href=[node.task.map(|task| format!("/tasks/{task}"))] {
                        rect class=(format!("box {phase}")) x=(x) y=(y) width=(BOX_WIDTH) height=(BOX_HEIGHT) rx="7" {}
                        text class="name" x=(x + 10) y=(y + 18) { (shortened(&node.source)) }
                        text class="phase" x=(x + 10) y=(y + 34) { (phase) }
                        title { (node.source) ": " (phase) }
                    }
                }
            }
        }
    })
}

/// From the right side of one box to the left side of another.
fn curve((from_x, from_y): (usize, usize), (to_x, to_y): (usize, usize)) -> String {
    let (x1, y1) = (from_x + BOX_WIDTH, from_y + BOX_HEIGHT / 2);
    let (x2, y2) = (to_x, to_y + BOX_HEIGHT / 2);
    let middle = (x1 + x2) / 2;
    format!("M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}")
}

fn shortened(name: &str) -> String {
    const CHARACTERS_MAX: usize = 20;
    match name.chars().count() > CHARACTERS_MAX {
        true => name.chars().take(CHARACTERS_MAX - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}
