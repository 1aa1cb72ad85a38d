//! The pictures: what they show, that they can be moved about in, and that nothing in them jumps while builds go on.

use std::time::Duration;

use testkit::{Browser, Scheme, keys};

use crate::busy::Busy;

/// Bytes that a page of the queue may have with all recipes queued.
const QUEUE_SIZE_BYTES_MAX: usize = 150_000;

/// Where a name stands in the picture.
const PLACE_OF: &str = "
    // A sign may stand before the name.
    const link = [...document.querySelectorAll('.names a')].find((link) => link.textContent.replace(/^[^a-z0-9] /, '') === arguments[0]);
    const box = link.getBoundingClientRect();
    return [Math.round(box.left), Math.round(box.top)];
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_a_picture_that_can_be_read_and_moved_about_in() {
    let Some(browser) = Browser::start() else { return };
    let Some(mut busy) = Busy::start().await else { return };
    let (_, page) = busy.farm.request("GET", "/queue", &[]).await;
    assert!(page.len() < QUEUE_SIZE_BYTES_MAX, "{} bytes", page.len());

    for (width, height) in [(1400, 1000), (390, 844)] {
        browser.size(width, height);
        for scheme in [Scheme::Light, Scheme::Dark] {
            browser.scheme(scheme);
            for (name, path) in [
                ("queue", "/queue"),
                ("timeline", "/timeline?hours=6"),
                ("channels", "/channels"),
                ("diff", "/channels/diff?channel=main&from=history%2F2-test&to=stream%2Fvolatile"),
                ("durations", "/durations?source=libffi"),
            ] {
                busy.open(&browser, path);
                browser.screenshot(&format!("{name}-{width}-{}", scheme.keyword()));
            }
        }
    }
    browser.size(1400, 1000);
    browser.scheme(Scheme::Light);
    busy.open(&browser, "/queue");
    browser.until("everything has a name", "document.querySelectorAll('.names a').length > 1300");
    browser.until("it is live", "document.getElementById('live').className === 'on'");

    // Search leads to a recipe and shows its neighbours.
    browser.type_into("#q-find", "gtk-4");
    browser.press(keys::ENTER);
    browser.until("neighbours are marked", "document.querySelectorAll('.names a.near').length > 3");
    let panel = browser.text("#q-panel");
    assert!(panel.contains("gtk-4") && panel.contains("is needed by"), "{panel}");
    browser.screenshot("queue-neighbours-1400-light");

    // Arrows lead to another recipe, the same for everybody; Escape ends it.
    let chosen = "return document.querySelector('#q-panel p').innerText;";
    browser.run("document.querySelector('.names a.near').focus();", &[]);
    let before = browser.run(chosen, &[]);
    browser.press(keys::RIGHT);
    browser
        .until("another is chosen", &format!("document.querySelector('#q-panel p').innerText !== {before}"));
    browser.press(keys::ESCAPE);
    browser.until("nothing is chosen", "document.getElementById('q-panel').hidden");

    // A build is published: its sign is another, and nothing has moved.
    let order = busy.running.remove(0);
    let name = order.order.source_name.clone();
    let places = |browser: &Browser| browser.run(PLACE_OF, &[name.clone().into()]);
    let before = places(&browser);
    browser.run("window.loadedOnce = true;", &[]);
    busy.farm.clock.advance(Duration::from_secs(60));
    busy.agents[order.agent].build_and_publish(&busy.farm.vessel, &order.order).await;
    browser.until(
        "it is published in the picture",
        &format!(
            "[...document.querySelectorAll('.names a')].some((link) => link.textContent === '✓ {name}')"
        ),
    );
    assert_eq!(places(&browser), before, "nothing moves");
    assert_eq!(browser.run("return window.loadedOnce;", &[]), true, "the page was not loaded again");
    assert_eq!(browser.complaints(), Vec::<String>::new());

    // Without scripts, a search marks what it found, and names lead to tasks.
    browser.scripts(false);
    busy.open(&browser, "/queue?find=kf6");
    let marked = browser.run("return document.getElementById('q-found').getAttribute('d').length;", &[]);
    assert!(marked.as_u64().unwrap() > 500, "{marked}");
    let address = browser.run("return document.querySelector('.names a.building').href;", &[]);
    assert!(address.as_str().unwrap().starts_with(&busy.address("/tasks/")), "{address}");
    browser.scripts(true);
    browser.as_printed();
    browser.screenshot("queue-printed");
}
