//! The style sheet for the colours of logs: a class for each colour of a terminal, readable on a light and a dark ground.
//!
//! Programs choose colours for a dark terminal. Text colours are therefore made darker on the light ground and lighter on
//! the dark one until they can be read; the same colours behind text are left as they are.

use std::sync::LazyLock;

use crate::logs::terminal::components;

/// The ground of a log, light and dark: `--log` of the style sheet.
const GROUNDS: [[u8; 3]; 2] = [[252, 252, 253], [9, 13, 20]];

/// Least contrast of text (WCAG 2, level AA).
const CONTRAST_MIN: f64 = 4.5;

/// Up to this luminance white can be read better than black (where both contrasts are the same).
const DARK_LUMINANCE_MAX: f64 = 0.179;

/// The first sixteen colours, chosen to be told apart on either ground.
const BASE: [[u8; 3]; 16] = [
    [59, 66, 82],
    [205, 49, 63],
    [35, 134, 54],
    [154, 103, 0],
    [47, 111, 235],
    [163, 71, 186],
    [18, 128, 145],
    [200, 206, 216],
    [110, 119, 129],
    [255, 99, 112],
    [74, 200, 110],
    [230, 180, 60],
    [110, 170, 255],
    [210, 140, 240],
    [80, 205, 215],
    [255, 255, 255],
];

/// `/colours.css`
pub(crate) fn colours() -> &'static str {
    static SHEET: LazyLock<String> = LazyLock::new(sheet);
    &SHEET
}

fn sheet() -> String {
    let colour = |number: u8| BASE.get(usize::from(number)).copied().unwrap_or_else(|| components(number));
    let mut sheet = String::new();
    for number in 0..=u8::MAX {
        // Text that has a colour of its own keeps it: those rules come later.
        let behind = colour(number);
        let text = if luminance(behind) > DARK_LUMINANCE_MAX { "#000" } else { "#fff" };
        sheet.push_str(&format!(".b{number}{{background:{};color:{text}}}\n", hexadecimal(behind)));
    }
    for number in 0..=u8::MAX {
        let [light, dark] = GROUNDS.map(|ground| hexadecimal(readable(colour(number), ground)));
        sheet.push_str(&format!(".f{number}{{color:light-dark({light},{dark})}}\n"));
    }
    sheet
}

/// The nearest colour on the way to black or white that can be read on `ground`.
fn readable(colour: [u8; 3], ground: [u8; 3]) -> [u8; 3] {
    let goal: u8 = if luminance(ground) > 0.5 { 0 } else { 255 };
    let mixed = |step: u16| colour.map(|part| mix(part, goal, step));
    (0..=STEPS).map(mixed).find(|mixed| contrast(*mixed, ground) >= CONTRAST_MIN).unwrap_or([goal; 3])
}

/// Steps from a colour to black or white.
const STEPS: u16 = 40;

fn mix(from: u8, to: u8, step: u16) -> u8 {
    let sum = u16::from(from) * (STEPS - step) + u16::from(to) * step;
    u8::try_from(sum / STEPS).unwrap_or(u8::MAX)
}

fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
    one.max(other) / one.min(other)
}

/// Relative luminance (WCAG 2).
fn luminance(colour: [u8; 3]) -> f64 {
    let [red, green, blue] = colour.map(|part| {
        let part = f64::from(part) / 255.0;
        if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn hexadecimal([red, green, blue]: [u8; 3]) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_can_be_read_on_both_grounds() {
        for number in 0..=u8::MAX {
            let colour = BASE.get(usize::from(number)).copied().unwrap_or_else(|| components(number));
            for ground in GROUNDS {
                assert!(contrast(readable(colour, ground), ground) >= CONTRAST_MIN, "{number}");
            }
        }
        assert_eq!(colours().lines().count(), 512);
        assert!(colours().starts_with(".b0{background:#3b4252;color:#fff}"), "{}", colours());
        assert!(colours().contains(".f0{color:light-dark(#3b4252,#"));
        assert!(colours().contains(".b226{background:#ffff00;color:#000}"));
    }
}
