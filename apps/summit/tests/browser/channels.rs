//! Streams that an operator moves on the page of channels, in a Vessel as it is.

use testkit::{Browser, keys};

use crate::real_vessel::{RealVessel, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_moves_a_stream_and_sees_when_vessel_is_away() {
    let Some(browser) = Browser::start() else { return };
    let Some(Stage { mut farm, vessel, first, second }) = Stage::prepare().await else { return };
    farm.guard("");
    farm.run().await;
    let page = format!("http://{}/channels", farm.http);
    browser.open(&page);
    assert!(browser.text("#channels").contains(&second));
    assert_eq!(browser.run("return document.querySelectorAll('main button[data-post]').length;", &[]), 0);

    let token = farm.token("ida", &["channels"]);
    browser.open(&format!("http://{}/sign-in?next=/channels", farm.http));
    browser.type_into("input[name=token]", &token);
    browser.press(keys::ENTER);
    browser.until("she is signed in", "document.querySelector('.who').innerText === 'ida'");
    browser.until("it is live", "document.getElementById('live').className === 'on'");
    browser.run("window.loadedOnce = true;", &[]);

    let is_at = |history: &str| {
        format!(
            "[...document.querySelectorAll('#channels tbody tr')].some((row) => row.innerText.includes('stream stable') && row.innerText.includes('{history}'))"
        )
    };
    let (promote, roll_back) = ("button[data-post$='/promote']", "button[data-post$='/rollback']");
    for (version, history) in [(format!("history/{first}"), &first), ("stream/volatile".into(), &second)] {
        browser.type_into(".actions input[name=stream]", "stable");
        browser.type_into(".actions input[name=from]", &version);
        browser.click(promote);
        browser.until(
            "it is asked for twice",
            "document.querySelector('button.sure').innerText === 'Really move it?'",
        );
        browser.click(promote);
        browser.until("the stream is there", &is_at(history));
    }
    for scheme in [testkit::Scheme::Light, testkit::Scheme::Dark] {
        browser.scheme(scheme);
        for (width, height) in [(1400, 1000), (390, 844)] {
            browser.size(width, height);
            browser.screenshot(&format!("channels-operator-{width}-{}", scheme.keyword()));
        }
    }
    assert_eq!(browser.barriers().unwrap_or_default(), Vec::<String>::new());
    browser.size(1400, 1000);
    browser.type_into(".actions input[name=stream]", "stable");
    browser.click(roll_back);
    browser.click(roll_back);
    browser.until("it is back", &is_at(&first));

    assert_eq!(browser.run("return window.loadedOnce;", &[]), true, "the page was not loaded again");

    // What Vessel says against it stands beside the button.
    browser.type_into(".actions input[name=stream]", "stable");
    browser.type_into(".actions input[name=from]", "tag/none");
    browser.click(promote);
    browser.click(promote);
    browser.until("it says why not", "document.querySelector('.answer').innerText.includes('tag/none')");

    let grpc = vessel.addresses.grpc;
    vessel.stop().await;
    browser.open(&page);
    assert!(browser.text("#channels .warning:nth-of-type(1)").contains("Vessel does not"));
    assert!(browser.text("#channels").contains(&second), "what it said last is still there");
    browser.screenshot("channels-away-1400-dark");
    let hub = summit::identity(&farm.data()).unwrap();
    let vessel = RealVessel::start(&farm.folder().join("vessel"), hub, grpc).await;
    browser.open(&page);
    assert_eq!(browser.run("return document.querySelectorAll('#channels .warning').length;", &[]), 0);
    vessel.stop().await;
}
