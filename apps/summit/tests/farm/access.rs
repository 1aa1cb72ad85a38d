//! Who may do what, over the real HTTP of a real Summit.

use serde_json::{Value, json};

use crate::fixture::Farm;
use crate::recipe;

async fn with(farm: &Farm, method: &str, path: &str, token: &str) -> (u16, Value) {
    let header = format!("Authorization: Bearer {token}");
    // As if it came through a proxy, so that being at this machine counts for nothing.
    let (code, body) = farm.request(method, path, &[&header, "X-Forwarded-For: 192.0.2.1"]).await;
    (code, serde_json::from_str(&body).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_bearer_tokens_of_any_kind_are_answered_401_at_once() {
    let Some(farm) =
        Farm::start_guarded("wrong_tokens_per_minute = 100000\n", &[("n/nano", &recipe("nano", 1, &[]))])
            .await
    else {
        return;
    };
    let long = "x".repeat(20_000);
    let began = std::time::Instant::now();
    let mut asked = 0;
    for shown in [
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Bearer ..",
        "Basic dXNlcjpwYXNz",
        "bearer moraine_000000000000_0000000000000000000000000000000000000000000000000000000000000000",
        "Bearer moraine_zz_zz",
        "Bearer \u{e9}\u{e9}",
        "Bearer moraine_000000000000_",
        &format!("Bearer {long}"),
    ] {
        for path in ["/api/status", "/", "/api/tokens", "/api/whoami"] {
            let (code, body) = farm.request("GET", path, &[&format!("Authorization: {shown}")]).await;
            assert_eq!(code, 401, "{shown:.60} at {path}: {body:.200}");
            asked += 1;
        }
    }
    assert!(began.elapsed().as_secs() < 20, "{asked} answers took {:?}", began.elapsed());
    let twice = ["Authorization: Bearer x", "Authorization: Bearer y"];
    assert_eq!(farm.request("GET", "/api/status", &twice).await.0, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_allows_what_its_scopes_say_until_it_is_revoked() {
    let Some(farm) = Farm::start(&[("n/nano", &recipe("nano", 1, &[]))]).await else { return };
    let operator = farm.token("operator", &["operate"]);
    let admin = farm.token("admin", &["admin"]);
    let away = ["X-Forwarded-For: 192.0.2.1", "X-Moraine: 1"];
    // A visitor looks and changes nothing; the message says what to do.
    assert_eq!(farm.request("GET", "/api/status", &away).await.0, 200);
    let (code, body) = farm.request("POST", "/api/wake-up", &away).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(code, 401, "{body}");
    assert!(body["error"]["hints"][0].as_str().unwrap().contains("summit token add"), "{body}");

    assert_eq!(with(&farm, "POST", "/api/wake-up", &operator).await.0, 200);
    let (code, body) = with(&farm, "GET", "/api/audit", &operator).await;
    assert_eq!(code, 403, "{body}");
    assert!(body["error"]["hints"][0].as_str().unwrap().contains("scope admin"), "{body}");
    assert_eq!(with(&farm, "POST", "/api/wake-up", &admin).await.0, 403, "admin is no operator");

    // Who did what, also what was refused, and last use.
    let (code, trail) = with(&farm, "GET", "/api/audit", &admin).await;
    assert_eq!(code, 200, "{trail}");
    let entries = trail["entries"].as_array().unwrap();
    let did = |actor: &str, action: &str| {
        entries.iter().find(|entry| entry["actor"] == actor && entry["action"] == action)
    };
    assert_eq!(did("operator", "wake_up").unwrap()["refused"], false, "{trail}");
    assert_eq!(did("admin", "wake_up").unwrap()["refused"], true, "{trail}");
    assert_eq!(did("", "add_token").unwrap()["actor_kind"], "data_folder", "{trail}");
    let (_, tokens) = with(&farm, "GET", "/api/tokens", &admin).await;
    assert!(tokens["tokens"][0]["last_used_ms"].is_u64(), "{tokens}");
    assert!(!tokens.to_string().contains(&operator[22..]), "no secret is listed");

    // Nobody gives away what they have not got.
    let wish = json!({ "name": "more", "scopes": ["operate"] });
    let header = format!("Authorization: Bearer {admin}");
    let (code, _) = farm.post_json_with("/api/tokens", &[&header], &wish).await;
    assert_eq!(code, 403);

    // Revoked, it is worth nothing at the very next request.
    assert_eq!(with(&farm, "DELETE", "/api/tokens/operator", &admin).await.0, 200);
    assert_eq!(with(&farm, "POST", "/api/wake-up", &operator).await.0, 401);
    assert_eq!(with(&farm, "DELETE", "/api/tokens/operator", &admin).await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_summit_that_is_not_public_shows_nothing_without_a_token() {
    let Some(farm) = Farm::start_guarded("public = false\n", &[("n/nano", &recipe("nano", 1, &[]))]).await
    else {
        return;
    };
    let reader = farm.token("reader", &["read"]);
    for path in ["/api/status", "/api/tasks", "/", "/tasks", "/builders", "/events"] {
        assert_eq!(farm.request("GET", path, &["X-Moraine: 1"]).await.0, 401, "{path}");
    }
    for path in ["/sign-in", "/style.css", "/api/openapi.json"] {
        assert_eq!(farm.request("GET", path, &[]).await.0, 200, "{path}");
    }
    let (code, _) = farm.request("GET", "/tasks?phase=failed", &["Accept: text/html"]).await;
    assert_eq!(code, 303, "a browser is led to the sign-in page");
    assert_eq!(with(&farm, "GET", "/api/status", &reader).await.0, 200);
    assert_eq!(with(&farm, "POST", "/api/wake-up", &reader).await.0, 403);

    // The sign-in page turns a token into a cookie.
    let form = format!("token={reader}&next=%2Ftasks");
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let answer = farm.whole("POST", "/sign-in", &[kind], &form).await;
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    assert!(answer.contains("location: /tasks"), "{answer}");
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(&reader[22..]), "the cookie is not the token");
    let pair = format!("Cookie: {}", cookie.split(';').next().unwrap());
    assert_eq!(farm.request("GET", "/tasks", &[&pair]).await.0, 200);
    // Another site cannot use it to change anything.
    let foreign = [pair.as_str(), "Origin: https://evil.example", "X-Moraine: 1"];
    assert_eq!(farm.request("POST", "/api/wake-up", &foreign).await.0, 401);
    let wrong = farm.whole("POST", "/sign-in", &[kind], "token=moraine_x&next=/").await;
    assert!(wrong.starts_with("HTTP/1.1 401"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_bounded() {
    let limits = "loopback_is_operator = true\nchanges_per_minute = 3\nwrong_tokens_per_minute = 3\n";
    let Some(farm) = Farm::start_guarded(limits, &[("n/nano", &recipe("nano", 1, &[]))]).await else {
        return;
    };
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(farm.request("GET", "/api/status", &["Authorization: Bearer x"]).await.0);
    }
    assert_eq!(codes, [401, 401, 401, 429, 429]);
    let good = farm.token("good", &["operate"]);
    assert_eq!(with(&farm, "GET", "/api/status", &good).await.0, 200, "a good token is not held up");
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(farm.post("/api/tasks/77777/retry").await.0);
    }
    assert_eq!(codes, [404, 404, 404, 429, 429]);
    // Pages beyond the end, pages of nothing, addresses of nothing.
    for (path, expect) in [
        ("/api/tasks?per_page=0", 200),
        ("/api/tasks?page=0&per_page=999999", 200),
        ("/tasks?per_page=0", 200),
        ("/api/tasks?page=18446744073709551615", 200),
        ("/api/tasks?page=-1", 400),
        ("/api/tasks/x", 404),
        ("/api/nothing", 404),
        ("/nothing", 404),
        ("/tasks/99999", 404),
    ] {
        assert_eq!(farm.request("GET", path, &[]).await.0, expect, "{path}");
    }
    assert_eq!(farm.request("PATCH", "/api/tasks", &[]).await.0, 405);
}
