//! The compact index of all real packages: what it holds, and what clients fetch of it.
//!
//! Packages are those of all manifests, where a channel would have them; digests and sizes, which manifests do not have,
//! are made from the names, so that they pack as badly as real ones.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the tests themselves do")]

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use package::{ManifestFile, PackageMeta};
use repository::compact;
use stone::Limits;

/// Packages whose image at most has [`INDEX_BYTES_MAX`].
const PACKAGES: usize = 4_000;
/// The most that a client fetches to know 4,000 packages, in bytes.
const INDEX_BYTES_MAX: usize = 600_000;

/// Packages that change in a week: 3,000 builds in the half year after a rebuild are some 120 recipes a week, and a
/// recipe yields three packages.
const PACKAGES_OF_A_WEEK: usize = 400;
/// The most that a client fetches to know what a week changed, in bytes.
const DELTA_BYTES_MAX: usize = 40_000;

fn all_packages() -> Option<Vec<PackageMeta>> {
    let path = testkit::data()?.join("recipes-dev.tar.zst");
    let Ok(file) = fs_err::File::open(&path) else {
        testkit::skip("recipes-dev.tar.zst");
        return None;
    };
    let mut archive = tar::Archive::new(zstd::Decoder::new(file).unwrap());
    let mut packages = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if !entry.path().unwrap().ends_with("manifest.x86_64.bin") {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        for mut package in ManifestFile::read(Cursor::new(bytes), &Limits::default()).unwrap().into_packages()
        {
            package.build_depends.clear();
            package.build_release = 1;
            package.uri = Some(repository::layout::package_uri(&package));
            stamp(&mut package);
            packages.insert(package.name.clone(), package);
        }
    }
    Some(packages.into_values().collect())
}

/// Gives a package the digest and size of a file that nobody has.
fn stamp(package: &mut PackageMeta) {
    let mut state =
        package.name.bytes().fold(package.build_release, |state, byte| scatter(state ^ u64::from(byte)));
    let mut next = || {
        state = scatter(state);
        state
    };
    package.hash = Some((0..4).map(|_| format!("{:016x}", next())).collect());
    package.download_size_bytes = Some(next() >> 44);
}

/// The finaliser of SplitMix64.
fn scatter(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[test]
fn all_real_packages_come_back() {
    let Some(all) = all_packages() else { return };
    assert!(all.len() > 3_000, "{} packages", all.len());
    let mut read = compact::packages(&compact::image(&all).unwrap()).unwrap();
    compact::add_texts(&mut read, &compact::texts(&all).unwrap()).unwrap();
    assert_eq!(read, all);
}

#[test]
fn clients_fetch_little_to_know_all_packages_and_less_to_know_a_week() {
    let Some(mut all) = all_packages() else { return };
    let image = compact::image(&all).unwrap();
    let packed = compact::pack(&image);
    let of_four_thousand = packed.len() * PACKAGES / all.len();
    assert!(of_four_thousand < INDEX_BYTES_MAX, "{of_four_thousand} bytes");

    let step = all.len() / PACKAGES_OF_A_WEEK;
    for package in all.iter_mut().step_by(step) {
        package.release += 1;
        package.build_release += 1;
        package.uri = Some(repository::layout::package_uri(package));
        stamp(package);
    }
    let next = compact::image(&all).unwrap();
    let delta = compact::delta(&image, &next);
    assert_eq!(compact::apply(&image, &delta).unwrap(), next);
    assert!(delta.len() < DELTA_BYTES_MAX, "{} bytes", delta.len());
    println!(
        "{} packages: image {} bytes, packed {}, texts packed {}, a week's delta {}",
        all.len(),
        image.len(),
        packed.len(),
        compact::pack(&compact::texts(&all).unwrap()).len(),
        delta.len(),
    );
}
