use super::*;
use crate::layers::layers;
use crate::layers::tests::{distribution, recipes};

fn cell(name: &str, sign: Sign) -> Cell {
    Cell { name: name.into(), sign, address: Some("tasks/7".into()) }
}

fn drawn(cells: &[Cell], needs: &[&[usize]]) -> String {
    let layers = layers(&recipes(needs));
    queue(&QueuePicture { layers: &layers, cells, critical: &[0, 1], deferred: &[(0, 1)], found: &[1] })
}

#[test]
fn a_small_order_is_drawn_as_before() {
    let cells = [cell("zlib", Sign::Building), cell("curl", Sign::Waiting), cell("git", Sign::Blocked)];
    let html = drawn(&cells, &[&[], &[0], &[0, 1]]);
    let expect = include_str!("small.html");
    assert_eq!(html, expect.trim_end(), "if this is better, write it to domain/picture/src/queue/small.html");
}

#[test]
fn names_that_are_markup_are_text() {
    let name = "<script>alert('x')</script>\"&";
    let cells = [Cell { address: Some(format!("/p/{name}")), ..cell(name, Sign::Failed) }];
    let html = drawn(&cells, &[&[]]);
    assert!(!html.contains("<script") && !html.contains("('x')"), "{html}");
    assert!(html.contains("href=\"/p/&lt;script&gt;"), "{html}");
    assert!(html.contains("title=\"&lt;script&gt;"), "a name that was shortened is told in full: {html}");
}

#[test]
fn every_sign_has_a_letter_and_a_word_of_its_own() {
    let letters: std::collections::BTreeSet<char> = Sign::ALL.map(Sign::letter).into();
    let words: std::collections::BTreeSet<&str> = Sign::ALL.map(Sign::word).into();
    assert_eq!((letters.len(), words.len()), (Sign::ALL.len(), Sign::ALL.len()));
}

#[test]
fn the_letters_are_in_the_order_of_the_names() {
    let cells = [cell("zlib", Sign::Building), cell("curl", Sign::Waiting), cell("git", Sign::Blocked)];
    let needs: [&[usize]; 3] = [&[], &[0], &[0]];
    let layers = layers(&recipes(&needs));
    let letters = letters(&layers, &cells);
    let html = drawn(&cells, &needs);
    let mut in_picture = String::new();
    for index in reading_order(&layers) {
        in_picture.push(cells[index].sign.letter());
    }
    assert_eq!(letters, in_picture);
    let at = |name: &str| html.find(&format!("{name}</a>")).unwrap();
    assert!(at("zlib") < at("curl") && at("curl") < at("git"), "{html}");
}

#[test]
fn a_distribution_is_small_enough_for_a_page() {
    let recipes = distribution();
    let layers = layers(&recipes);
    let cells: Vec<Cell> = recipes
        .iter()
        .enumerate()
        .map(|(index, recipe)| Cell {
            name: "n".repeat(recipe.characters),
            sign: Sign::ALL[index % Sign::ALL.len()],
            address: Some(format!("tasks/{}", 10_000 + index)),
        })
        .collect();
    let critical: Vec<usize> = (0..40).collect();
    let html = queue(&QueuePicture {
        layers: &layers,
        cells: &cells,
        critical: &critical,
        deferred: &[],
        found: &[],
    });
    assert!(html.len() < 140_000, "{} bytes, so the page would have more than 150 kB", html.len());
}
