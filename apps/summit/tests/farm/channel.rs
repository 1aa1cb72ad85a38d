//! Streams that operators move with Summit, in a Vessel as it is.

use serde_json::{Value, json};

use crate::fixture::Farm;
use crate::real_vessel::{RealVessel, Stage};

async fn post(farm: &Farm, token: &str, verb: &str, wish: &Value) -> (u16, Value) {
    let header = format!("Authorization: Bearer {token}");
    farm.post_json_with(&format!("/api/channels/main/{verb}"), &[&header], wish).await
}

async fn streams(farm: &Farm) -> Value {
    farm.get("/api/channels").await["channels"][0]["report"]["streams"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_move_streams_moves_them_and_is_named() {
    let Some(Stage { mut farm, vessel, first, second }) = Stage::prepare().await else { return };
    farm.run().await;
    let (ida, ben) = (farm.token("ida", &["channels"]), farm.token("ben", &["operate", "builders"]));
    let wish = json!({ "from": format!("history/{first}"), "stream": "stable" });

    // Others do not, and no page of another site does for those who may.
    let away = ["X-Forwarded-For: 192.0.2.1", "X-Moraine: 1"];
    assert_eq!(farm.post_json_with("/api/channels/main/promote", &away, &wish).await.0, 401);
    let (code, answer) = post(&farm, &ben, "promote", &wish).await;
    assert_eq!(code, 403, "{answer}");
    assert!(answer["error"]["hints"][0].as_str().unwrap().contains("scope channels"), "{answer}");
    let cookie = farm.sign_in(&ida).await;
    let foreign = [cookie.as_str(), "Origin: https://evil.example", "X-Moraine: 1"];
    assert_eq!(farm.post_json_with("/api/channels/main/promote", &foreign, &wish).await.0, 401);
    let careless = [cookie.as_str(), "X-Forwarded-For: 192.0.2.1"];
    assert_eq!(farm.post_json_with("/api/channels/main/promote", &careless, &wish).await.0, 401);
    assert_eq!(streams(&farm).await, json!({ "volatile": second }));

    let (code, moved) = post(&farm, &ida, "promote", &wish).await;
    let made = json!({ "channel": "main", "name": "stable", "from": null, "to": first, "changed": true });
    assert_eq!((code, &moved), (200, &made));
    assert_eq!(streams(&farm).await, json!({ "stable": first, "volatile": second }), "it is seen at once");
    let newest = json!({ "from": "stream/volatile", "stream": "stable" });
    assert_eq!(post(&farm, &ida, "promote", &newest).await.1["to"], json!(second));
    assert_eq!(post(&farm, &ida, "promote", &newest).await.1["changed"], false);
    let (code, moved) = post(&farm, &ida, "rollback", &json!({ "stream": "stable" })).await;
    assert_eq!((code, &moved["from"], &moved["to"]), (200, &json!(second), &json!(first)), "{moved}");

    for (verb, wish, status, said) in [
        ("promote", json!({ "from": "tag/none", "stream": "stable" }), 404, "tag/none"),
        ("promote", json!({ "from": "", "stream": "stable" }), 400, "1 to 200 characters"),
        ("promote", json!({ "from": "stream/volatile", "stream": "../up" }), 400, "../up"),
        ("promote", json!({ "from": "stream/volatile", "stream": "stable", "why": "" }), 400, "why"),
        ("rollback", json!({ "stream": "none" }), 404, "stream/none"),
    ] {
        let (code, answer) = post(&farm, &ida, verb, &wish).await;
        assert_eq!(code, status, "{wish}: {answer}");
        assert!(answer.to_string().contains(said), "{wish}: {answer}");
    }

    let trail = farm.get("/api/audit").await;
    let noted: Vec<(&Value, &Value, &Value, &Value)> = trail["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["subject"] == "stream stable of channel main")
        .map(|entry| (&entry["actor"], &entry["action"], &entry["detail"], &entry["refused"]))
        .collect();
    let detail = |text: &str| json!(text);
    assert_eq!(
        noted,
        [
            (
                &json!("ida"),
                &json!("roll_back_stream"),
                &detail(&format!("{second} → {first}")),
                &json!(false)
            ),
            (
                &json!("ida"),
                &json!("promote_stream"),
                &detail(&format!("was at {second} already")),
                &json!(false)
            ),
            (&json!("ida"), &json!("promote_stream"), &detail(&format!("{first} → {second}")), &json!(false)),
            (&json!("ida"), &json!("promote_stream"), &detail(&format!("nothing → {first}")), &json!(false)),
        ]
    );
    vessel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vessel_that_is_away_is_said_to_be_away_and_its_last_word_stays() {
    let Some(Stage { mut farm, vessel, second, .. }) = Stage::prepare().await else { return };
    farm.run().await;
    let ida = farm.token("ida", &["channels"]);
    assert_eq!(streams(&farm).await, json!({ "volatile": second }));
    let grpc = vessel.addresses.grpc;
    vessel.stop().await;

    let wish = json!({ "from": "stream/volatile", "stream": "stable" });
    let (code, answer) = post(&farm, &ida, "promote", &wish).await;
    assert_eq!(code, 503, "{answer}");
    let list = farm.get("/api/channels").await;
    let main = &list["channels"][0];
    assert!(main["trouble"].is_string() && list["trouble"].is_string(), "{list}");
    assert_eq!(main["report"]["streams"], json!({ "volatile": second }), "{list}");
    let page = farm.text("/channels").await;
    assert!(page.contains("Vessel does not answer. What is shown is from"), "{page}");

    let hub = summit::identity(&farm.data()).unwrap();
    let vessel = RealVessel::start(&farm.folder().join("vessel"), hub, grpc).await;
    assert_eq!(post(&farm, &ida, "promote", &wish).await.0, 200);
    assert_eq!(streams(&farm).await, json!({ "stable": second, "volatile": second }));
    assert!(!farm.text("/channels").await.contains("does not answer"));
    vessel.stop().await;
}
