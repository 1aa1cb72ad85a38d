use proptest::prelude::*;

use super::*;

/// Recipes by what each needs; `knot` groups follow.
pub(crate) fn recipes(needs: &[&[usize]]) -> Vec<Recipe> {
    let recipe =
        |needs: &&[usize]| Recipe { needs: needs.to_vec(), knot: None, characters: 6, is_shown: true };
    needs.iter().map(recipe).collect()
}

fn level_of(layers: &Layers, recipe: usize) -> Option<usize> {
    layers.places[recipe].map(|place| place.level)
}

#[test]
fn a_diamond_has_three_columns_and_no_edge_that_follows_from_others() {
    let layers = layers(&recipes(&[&[], &[0], &[0], &[0, 1, 2]]));
    let levels: Vec<Option<usize>> = (0..4).map(|recipe| level_of(&layers, recipe)).collect();
    assert_eq!(levels, [Some(0), Some(1), Some(1), Some(2)]);
    assert!(layers.has_all_links);
    assert_eq!(
        layers.links.len(),
        4,
        "the edge from the last to the first follows from the others: {layers:?}"
    );
}

#[test]
fn who_is_not_shown_passes_ways_on() {
    let mut recipes = recipes(&[&[], &[0], &[1], &[2]]);
    recipes[1].is_shown = false;
    recipes[2].is_shown = false;
    let layers = layers(&recipes);
    assert_eq!(level_of(&layers, 1), None);
    assert_eq!((level_of(&layers, 0), level_of(&layers, 3)), (Some(0), Some(1)));
    assert_eq!(layers.links.len(), 1, "what is needed through others is joined: {layers:?}");
}

#[test]
fn a_long_edge_has_a_lane_that_others_share() {
    // 0 is needed by the chain 1, 2, 3 and, beside it, by 4 and 5, which need the end of another chain.
    let layers = layers(&recipes(&[&[], &[], &[1], &[2], &[0, 3], &[0, 3]]));
    // 1-2, 2-3, 3-4, 3-5 and of 0: three lanes with three curves between, and two ends.
    assert_eq!(layers.links.len(), 4 + 2 + 2 + 2, "{:?}", layers.links);
}

#[test]
fn a_knot_has_a_band_above_all_others() {
    let mut recipes = recipes(&[&[], &[0], &[1], &[2], &[0]]);
    for recipe in &mut recipes[1..4] {
        recipe.knot = Some(7);
    }
    let layers = layers(&recipes);
    let [band] = layers.bands.as_slice() else { panic!("{:?}", layers.bands) };
    assert_eq!((band.knot, band.members), (7, 3));
    for (recipe, place) in layers.places.iter().flatten().enumerate() {
        let inside = place.y >= band.y && place.y + layers.scale.cell_height <= band.y + band.height;
        assert_eq!(inside, (1..4).contains(&recipe), "{recipe} {place:?} {band:?}");
        if inside {
            assert!(place.x >= band.x && place.x + place.width <= band.x + band.width);
        }
    }
}

#[test]
fn nothing_gives_an_empty_sheet() {
    assert!(layers(&[]).places.is_empty());
    let hidden = layers(&[Recipe::default()]);
    assert_eq!((hidden.places.as_slice(), hidden.columns.len()), ([None].as_slice(), 0));
}

/// Random build orders: each recipe needs some of those before it.
fn build_order(count_max: usize) -> impl Strategy<Value = Vec<Recipe>> {
    let recipe =
        (prop::collection::vec(any::<prop::sample::Index>(), 0..5), 0..40_usize, 0..9_u8, 0..7_usize);
    prop::collection::vec(recipe, 0..count_max).prop_map(|recipes| {
        let recipe = |(index, (needs, characters, shown, knot)): (
            usize,
            (Vec<prop::sample::Index>, usize, u8, usize),
        )| {
            Recipe {
                needs: if index == 0 {
                    vec![0, 5]
                } else {
                    needs.iter().map(|need| need.index(index)).collect()
                },
                knot: (knot < 2).then_some(knot),
                characters,
                is_shown: shown > 0,
            }
        };
        recipes.into_iter().enumerate().map(recipe).collect()
    })
}

fn check(recipes: &[Recipe]) {
    let layers = layers(recipes);
    assert_eq!(layers, super::layers(recipes), "the same order gives the same layout");
    let cell = layers.scale.cell_height;
    let mut places: Vec<Place> = layers.places.iter().copied().flatten().collect();
    for (recipe, place) in recipes.iter().zip(&layers.places) {
        assert_eq!(recipe.is_shown, place.is_some());
    }
    for (index, recipe) in recipes.iter().enumerate() {
        let Some(user) = layers.places[index] else { continue };
        for needed in
            recipe.needs.iter().filter(|&&need| need < index).filter_map(|&need| layers.places[need])
        {
            assert!(needed.level < user.level && needed.x + needed.width < user.x, "{needed:?} {user:?}");
        }
    }
    places.sort_by_key(|place| (place.x, place.y));
    for pair in places.windows(2) {
        let (one, other) = (pair[0], pair[1]);
        let apart = one.x + one.width <= other.x || (one.x == other.x && one.y + cell <= other.y);
        assert!(apart, "{one:?} {other:?}");
    }
    for place in &places {
        assert!(
            place.x + place.width <= layers.width && place.y + cell <= layers.height,
            "{place:?} {layers:?}"
        );
    }
    for link in &layers.links {
        assert!(link.from.0 <= link.to.0, "{link:?}");
        assert!(link.to.0 <= layers.width && link.to.1.max(link.from.1) <= layers.height, "{link:?}");
    }
    for (one, other) in layers.bands.iter().zip(layers.bands.iter().skip(1)) {
        assert!(one.y + one.height <= other.y, "{one:?} {other:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn nothing_overlaps_and_whatever_is_needed_is_further_left(recipes in build_order(90)) {
        check(&recipes);
    }

    #[test]
    fn the_same_holds_for_many(recipes in build_order(420)) {
        check(&recipes);
    }
}

/// A made-up distribution of 1,700 recipes with 8,000 edges.
pub(crate) fn distribution() -> Vec<Recipe> {
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below.max(1)
    };
    let mut recipe = |index: usize| Recipe {
        // Near ones, and some that everybody needs.
        needs: (0..5)
            .map(|turn| if turn < 2 { random(index.min(60)) } else { index.saturating_sub(1 + random(300)) })
            .collect(),
        knot: (100..470).contains(&index).then_some(0),
        characters: 4 + random(18),
        is_shown: true,
    };
    (0..1700).map(&mut recipe).collect()
}

#[test]
fn a_distribution_is_laid_out_as_cells() {
    let recipes = distribution();
    check(&recipes);
    let layers = layers(&recipes);
    assert!(!layers.has_all_links && layers.links.len() <= 1_700, "{} links", layers.links.len());
}
