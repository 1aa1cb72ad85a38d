//! Every page as it looks: pictures on a desk and on a telephone, light and dark; nothing asked of other hosts, no complaint, no
//! barrier.

use testkit::{Browser, Scheme};

use crate::busy::Busy;

/// Bytes of the overview, whatever is queued: a second on a slow telephone.
const OVERVIEW_BYTES_MAX: usize = 60_000;

/// Pages that everybody sees, with a name for their pictures.
fn pages(busy: &Busy) -> Vec<(&'static str, String)> {
    let (task, attempt) = busy.failed;
    let running = &busy.running[0].order;
    vec![
        ("overview", "/".into()),
        ("tasks", "/tasks".into()),
        ("tasks-found", "/tasks?phase=all&q=python&sort=name".into()),
        ("tasks-empty", "/tasks?phase=held".into()),
        ("task-failed", format!("/tasks/{task}")),
        ("task-running", format!("/tasks/{}", running.task_id)),
        ("task-blocked", busy.blocked.clone()),
        ("log", format!("/tasks/{task}/attempts/{attempt}")),
        ("package", format!("/packages/{}", busy.published)),
        ("queue", "/queue".into()),
        ("queue-list", "/queue?view=list".into()),
        ("timeline", "/timeline".into()),
        ("channels", "/channels".into()),
        ("channel-diff", "/channels/diff?channel=main&from=history%2F2-test&to=stream%2Fvolatile".into()),
        ("builders", "/builders".into()),
        ("builder", "/builders/ada".into()),
        ("logs", "/logs?q=error%3A".into()),
        ("audit", "/audit".into()),
        ("sign-in", "/sign-in".into()),
        ("not-found", "/tasks/99999999".into()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_on_a_desk_and_on_a_telephone() {
    let Some(browser) = Browser::start() else { return };
    let Some(mut busy) = Busy::start().await else { return };
    busy.say("[180/412] cc -O2 -c src/last.c -o last.o\n").await;
    let overview = busy.farm.text("/").await;
    eprintln!("the overview has {} bytes", overview.len());
    assert!(overview.len() < OVERVIEW_BYTES_MAX, "{} bytes", overview.len());
    let mut barriers = Vec::new();
    for (name, path) in pages(&busy) {
        for (width, height) in [(1400, 1000), (390, 844)] {
            browser.size(width, height);
            for scheme in [Scheme::Light, Scheme::Dark] {
                browser.scheme(scheme);
                busy.open(&browser, &path);
                browser.screenshot(&format!("{name}-{width}-{}", scheme.keyword()));
                let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth;", &[]);
                if overflow.as_i64().unwrap() > 0 {
                    barriers.push(format!("{name} at {width}: {overflow} pixels too wide"));
                }
                // Both layouts and both schemes are looked at, which needs no more than two of the four.
                if (width < 600) != (scheme == Scheme::Dark) {
                    continue;
                }
                let Some(found) = browser.barriers() else { continue };
                let place = format!("{name} at {width}, {}", scheme.keyword());
                barriers.extend(found.into_iter().map(|barrier| format!("{place}: {barrier}")));
            }
        }
    }
    let own = busy.address("/");
    let foreign: Vec<String> = browser
        .requests()
        .into_iter()
        .filter(|address| !address.starts_with(&own) && !address.starts_with("data:"))
        .collect();
    assert_eq!(foreign, Vec::<String>::new(), "no page asks another host");
    let complaints: Vec<String> = browser
        .complaints()
        .into_iter()
        .filter(|complaint| !complaint.contains("/tasks/99999999 "))
        .collect();
    assert_eq!(complaints, Vec::<String>::new());
    assert!(barriers.is_empty(), "{}", barriers.join("\n"));
}
