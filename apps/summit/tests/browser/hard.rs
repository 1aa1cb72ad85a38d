//! What a dashboard meets that nobody wishes for: markup in names, a task that goes away, a log of 200 MB, readers without a mouse, readers who
//! may not.

use std::process::Command;
use std::time::Instant;

use farm::ids::TaskId;
use serde_json::json;
use testkit::{Browser, keys};
use wire::summit::FailureClass;

use crate::agent::failed;
use crate::fixture::Farm;
use crate::live::one_build;
use crate::recipe;

/// Markup that runs if anybody lets it.
const MARKUP: &str = "<img src=x onerror=alert(1)>";

/// Bytes of a large log, and of one where there is no time for it.
const LARGE_LOG_BYTES: usize = 200 << 20;
const LARGE_LOG_BYTES_WITHOUT_TIME: usize = 24 << 20;

/// How long a page may take to show a large log. It takes a second in an unoptimised build.
const LARGE_LOG_LIMIT_SECONDS: u64 = 20;

/// Rows that come at once when more of a log is asked for: 256 KiB have 3,048 lines of 86 bytes.
const PIECE_ROWS_MAX: u64 = 4_000;

/// What looking at a large log may cost in memory, whatever its size.
const LOOKING_BYTES_MAX: usize = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_logs_full_of_markup_stay_text() {
    let Some(browser) = Browser::start() else { return };
    let place = format!("b/{MARKUP}");
    let Some(farm) = Farm::start(&[("n/nano", &recipe("nano", 1, &[])), (&place, "name: [")]).await else {
        return;
    };
    let mut agent = farm.attach("one", 1, &[]).await;
    let order = agent.order().await;
    agent.started(&order).await;
    let log = format!("==> phase {MARKUP}\n==> phase build\na.c:1: error: {MARKUP}\n");
    agent.log(&order, 0, log.as_bytes()).await;
    agent.send(failed(&order, FailureClass::Build, MARKUP, "build")).await;
    agent.released(order.attempt_id).await;
    let task = order.task_id;
    for path in [
        "/".to_owned(),
        format!("/tasks/{task}"),
        format!("/tasks/{task}/attempts/{}", order.attempt_id),
        "/packages/nano".to_owned(),
        "/builders/one".to_owned(),
        "/logs?q=%3Cimg".to_owned(),
        "/tasks?q=%22%3E%3Cimg+src%3Dx%3E".to_owned(),
        format!("/packages/{}", "%3Cimg%20src=x%20onerror=alert(1)%3E"),
    ] {
        browser.open(&format!("http://{}{path}", farm.http));
        let made =
            browser.run("return document.querySelectorAll('main img, main script, [onerror]').length;", &[]);
        assert_eq!(made, 0, "{path}");
        browser.until("the text is there as text", "document.documentElement.outerHTML.includes('&lt;img') || document.querySelector('input[name=q]')?.value.includes('<img') || location.pathname.startsWith('/builders') || location.pathname === '/packages/nano'");
    }
    let forbidden: Vec<String> =
        browser.complaints().into_iter().filter(|complaint| !complaint.contains("404")).collect();
    assert_eq!(forbidden, Vec::<String>::new(), "not even the policy had to forbid anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_forgotten_while_it_is_open_says_so() {
    let Some(browser) = Browser::start() else { return };
    let Some((farm, agent, order)) = one_build().await else { return };
    browser.open(&format!("http://{}/tasks/{}", farm.http, order.task_id));
    browser.until("it is live", "document.getElementById('live').className === 'on'");
    farm.store().await.forget_tasks(&[TaskId(order.task_id)]).await.unwrap();
    // Something else happens: the page looks again.
    let (code, answer) =
        farm.post_json("/api/builders/one/label", &json!({ "add_labels": ["rack-3"] })).await;
    assert_eq!(code, 200, "{answer}");
    browser.until(
        "it says so",
        "document.getElementById('lost').innerText.includes('does not know this any more')",
    );
    assert!(browser.text("h1").contains("nano"), "what was known last is still there");
    drop(agent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_log_is_shown_at_once_and_line_by_line() {
    let Some(browser) = Browser::start() else { return };
    let Some((farm, mut agent, order)) = one_build().await else { return };
    let size = if testkit::long() { LARGE_LOG_BYTES } else { LARGE_LOG_BYTES_WITHOUT_TIME };
    let mut offset = agent.log(&order, 0, b"==> phase build\n").await;
    let (mut line, mut piece) = (1_u64, String::new());
    while usize::try_from(offset).unwrap() < size {
        piece.clear();
        while piece.len() < 900 << 10 {
            line += 1;
            piece.push_str(&format!(
                "{line:9} cc -O2 -c part.c -o part.o and what else there is to say in a line of a log\n"
            ));
        }
        offset = agent.log(&order, offset, piece.as_bytes()).await;
    }
    agent.log(&order, offset, b"a.c:1: error: here at last\nmake: *** [all] Error 1\n").await;
    agent.send(failed(&order, FailureClass::Build, "make failed", "build")).await;
    agent.released(order.attempt_id).await;
    let began = Instant::now();
    let before = forget_memory_peak();
    browser.open(&format!("http://{}/tasks/{}/attempts/{}", farm.http, order.task_id, order.attempt_id));
    assert!(began.elapsed().as_secs() < LARGE_LOG_LIMIT_SECONDS, "the page took {:?}", began.elapsed());
    let rows = browser.run("return document.querySelectorAll('#log .r').length;", &[]).as_u64().unwrap();
    assert!((10..6_000).contains(&rows), "{rows} rows");
    let middle = line / 2;
    browser.open(&format!(
        "http://{}/tasks/{}/attempts/{}?line={middle}#L{middle}",
        farm.http, order.task_id, order.attempt_id
    ));
    browser.until(
        "the line is there",
        &format!("document.getElementById('L{middle}')?.innerText.includes('{middle} cc')"),
    );
    let seen = format!(
        "(() => {{ const row = document.getElementById('L{middle}').getBoundingClientRect(); return row.top >= 0 && row.bottom <= innerHeight; }})()"
    );
    browser.until("the line is in sight", &seen);
    // What is before it comes piece by piece, when it is asked for.
    let count = "return document.querySelectorAll('#log .r').length;";
    let mut rows = browser.run(count, &[]).as_u64().unwrap();
    for _ in 0..3 {
        let first = "return Number(document.querySelector('#log .r > a').innerText);";
        let before = browser.run(first, &[]);
        browser.run("document.querySelector('#log .more a[data-back]').click();", &[]);
        browser.until("earlier lines are there", &format!("(() => {{ {first} }})() < {before}"));
        let more = browser.run(count, &[]).as_u64().unwrap();
        assert!((rows + 1..rows + PIECE_ROWS_MAX).contains(&more), "{rows} rows, then {more}");
        rows = more;
    }
    let grown = memory_peak_bytes().saturating_sub(before);
    eprintln!("looking at a log of {size} bytes took {} MB of memory", grown >> 20);
    assert!(grown < LOOKING_BYTES_MAX, "{grown} bytes");
}

/// Most memory that this process had at once, with the Summit in it (proc(5): `VmHWM`).
fn memory_peak_bytes() -> usize {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
}

/// From now on only what comes counts (proc(5): `clear_refs`, 5). What there is now.
fn forget_memory_peak() -> usize {
    fs_err::write("/proc/self/clear_refs", "5").unwrap();
    memory_peak_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_complete_without_scripts_and_on_paper() {
    let Some(browser) = Browser::start() else { return };
    let Some((farm, mut agent, order)) = one_build().await else { return };
    let lines: String = (1..400).map(|number| format!("line {number}\n")).collect();
    agent.log(&order, 0, format!("==> phase build\n{lines}").as_bytes()).await;
    agent.send(failed(&order, FailureClass::Build, "make failed", "build")).await;
    agent.released(order.attempt_id).await;
    let task = format!("http://{}/tasks/{}", farm.http, order.task_id);
    browser.scripts(false);
    for path in
        ["/", "/tasks", "/packages/nano", "/queue", "/timeline", "/channels", "/builders", "/logs?q=line"]
    {
        browser.open(&format!("http://{}{path}", farm.http));
        let main = browser.text("main");
        assert!(main.contains("nano") || main.contains("one") || main.contains("main"), "{path}: {main}");
        let shown = "return [...document.querySelectorAll('[data-post]')].filter((button) => button.getClientRects().length).length;";
        assert_eq!(browser.run(shown, &[]), 0, "{path}: what needs a script is not shown");
    }
    browser.open(&task);
    assert!(browser.text("#log").contains("line 399"));
    assert!(browser.text("#history time").ends_with(" UTC"), "a time is told in full");
    browser.open(&format!("http://{}/tasks", farm.http));
    browser.type_into("input[name=q]", "nan");
    browser.press(keys::ENTER);
    browser.until("the search is done", "location.search.includes('q=nan')");
    assert!(browser.text("#list").contains("nano"));

    browser.scripts(true);
    browser.as_printed();
    browser.open(&task);
    browser.screenshot("task-printed");
    let log = browser
        .run("const log = document.getElementById('log'); return log.scrollHeight - log.clientHeight;", &[]);
    assert_eq!(log, 0, "all of the log is on paper");
    for gone in [".top nav", ".bottom", ".logbar", ".who"] {
        let display = browser
            .run("return getComputedStyle(document.querySelector(arguments[0])).display;", &[gone.into()]);
        assert_eq!(display, "none", "{gone} is of no use on paper");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_done_with_the_keyboard_alone() {
    let Some(browser) = Browser::start() else { return };
    let recipes = [("n/nano", recipe("nano", 1, &["ncurses"])), ("n/ncurses", recipe("ncurses", 1, &[]))];
    let recipes: Vec<(&str, &str)> = recipes.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let Some(farm) = Farm::start(&recipes).await else { return };
    farm.until_status(|status| status["open"] == 2).await;
    browser.open(&format!("http://{}/tasks", farm.http));
    browser.press(keys::TAB);
    assert_eq!(browser.run("return document.activeElement.className;", &[]), "skip");
    browser.press(keys::ENTER);
    browser.until("the content has the focus", "document.activeElement.id === 'main'");
    browser.press("/");
    browser.until("the search has the focus", "document.activeElement.name === 'q'");
    browser.press("ncur");
    browser.press(keys::ENTER);
    browser.until("one is found", "document.querySelectorAll('table.tasks tbody tr').length === 1");
    focus_on(&browser, "table.tasks tbody a");
    browser.press(keys::ENTER);
    browser.until("its page is open", "document.querySelector('h1')?.innerText.includes('ncurses')");
    focus_on(&browser, "button[data-post$='/hold']");
    browser.press(keys::ENTER);
    browser.until("it is held", "document.querySelector('h1 .badge').innerText.includes('held')");
    focus_on(&browser, "button[data-post$='/cancel']");
    browser.press(keys::ENTER);
    browser.until(
        "it asks again",
        "document.querySelector(\"button[data-post$='/cancel']\").innerText === 'Really cancel?'",
    );
    browser.press(keys::ENTER);
    browser.until("it is cancelled", "document.querySelector('h1 .badge').innerText.includes('cancelled')");
    let trail = farm.get("/api/audit").await;
    let actions: Vec<&str> =
        trail["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert!(actions.contains(&"hold_task") && actions.contains(&"cancel_task"), "{actions:?}");
}

/// Presses Tab until the element has the focus.
fn focus_on(browser: &Browser, selector: &str) {
    for _ in 0..80 {
        let has_it = "return document.activeElement === document.querySelector(arguments[0]);";
        if browser.run(has_it, &[json!(selector)]) == true {
            let outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle;", &[]);
            assert_ne!(outline, "none", "the focus on {selector} is seen");
            return;
        }
        browser.press(keys::TAB);
    }
    panic!("Tab never comes to {selector} on the page {}", browser.address());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_signed_in_sees_and_uses_buttons() {
    let Some(browser) = Browser::start() else { return };
    let Some(farm) = Farm::start_guarded("", &[("n/nano", &recipe("nano", 1, &[]))]).await else { return };
    farm.until_status(|status| status["open"] == 1).await;
    browser.open(&format!("http://{}/tasks/nano", farm.http));
    assert_eq!(browser.run("return document.querySelectorAll('main button[data-post]').length;", &[]), 0);
    let made = Command::new(env!("CARGO_BIN_EXE_summit"))
        .args(["token", "add", "ida", "--scope", "operate", "--data"])
        .arg(farm.data())
        .output()
        .unwrap();
    let token = String::from_utf8(made.stdout).unwrap();
    browser.open(&format!("http://{}/sign-in?next=/tasks/nano", farm.http));
    browser.type_into("input[name=token]", token.trim());
    browser.press(keys::ENTER);
    browser.until("she is signed in", "document.querySelector('.who').innerText === 'ida'");
    browser.type_into("input[name=why]", "not before the release");
    browser.click("button[data-post$='/hold']");
    browser.until("it is held", "document.querySelector('h1 .badge').innerText.includes('held')");
    assert!(browser.text("#why").contains("not before the release"));
    // A page of another site cannot do the same with her cookie: it cannot send the header.
    let forged = browser.run_async(
        "return (await fetch('/api/tasks/nano/release', { method: 'POST', headers: {} })).status;",
    );
    assert_eq!(forged, 401);
    browser.run("document.querySelector('main select[name=priority]').value = 'urgent'; document.querySelector('main select[name=priority]').dispatchEvent(new Event('change', { bubbles: true }));", &[]);
    browser.until("it is urgent", "document.querySelector('main select[name=priority] option[value=urgent]').selected && document.querySelector('main select[name=priority] option[value=urgent]').hasAttribute('selected')");
}
