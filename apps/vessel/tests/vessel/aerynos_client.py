#!/usr/bin/env python3
"""aerynos_client.py TOOLS BASE_URL STATE

Reads a published tree the way a client of AerynOS does, with nothing of this project: root index, version, history, index,
the address of each package joined to that of the index, its size and digest. TOOLS is the folder of stonedump.py, an
independent reader of .stone files. STATE remembers the digest of everything that must never change between two calls.
Prints one JSON object, or says what is wrong and exits with 1.
"""
import hashlib
import io
import json
import os
import sys
import urllib.parse
import urllib.request
import zlib

import zstandard

sys.path.insert(0, sys.argv[1])
import stonedump

BASE, STATE = sys.argv[2].rstrip("/"), sys.argv[3]
CHANNEL, ARCHITECTURE = "main", "x86_64"
requests = 0
forever = json.load(open(STATE)) if os.path.exists(STATE) else {}


def need(condition, what):
    if not condition:
        sys.exit(f"wrong: {what}")


def get(url):
    """The bytes at an address. Compressed on the way, as the client's HTTP library asks for it."""
    global requests
    requests += 1
    asked = urllib.request.Request(url, headers={"Accept-Encoding": "gzip, br, zstd, deflate", "User-Agent": "moss/0.1"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        need(answer.url == url, f"{url} redirects to {answer.url}")
        need(answer.status == 200, f"{url} answers {answer.status}")
        data, encoding = answer.read(), answer.headers.get("Content-Encoding")
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    if encoding == "gzip":
        return zlib.decompress(data, 31)
    need(encoding is None, f"{url} comes as {encoding}")
    return data


def get_immutable(url):
    data = get(url)
    digest = hashlib.sha256(data).hexdigest()
    need(forever.setdefault(url, digest) == digest, f"{url} has changed")
    return data


def records(payload):
    found = {}
    for record in payload["records"]:
        found.setdefault(record["tag_id"], []).append(record["value"])
    return found


def index(url, fetch):
    """Every package of an index, downloaded and compared."""
    document = stonedump.parse_stone(fetch(url))
    need(document["file_type"] == "repository", f"{url} is a {document['file_type']}")
    names = []
    for payload in document["payloads"]:
        need(payload["kind"] == "meta", f"{url} has a payload of kind {payload['kind']}")
        found = records(payload)
        for tag in (1, 2, 3, 7, 11, 14, 15, 16):
            need(len(found.get(tag, [])) == 1, f"a package of {url} has tag {tag} {len(found.get(tag, []))} times")
        name, uri, digest, size = (found[tag][0] for tag in (1, 14, 15, 16))
        need(found[2][0] == ARCHITECTURE, f"{name} in {url} is of architecture {found[2][0]}")
        data = get_immutable(urllib.parse.urljoin(url, uri))
        need(len(data) == size, f"{name} of {url} has {len(data)} bytes, promised were {size}")
        need(hashlib.sha256(data).hexdigest() == digest, f"{name} of {url} has another digest")
        package = stonedump.parse_stone(data)
        need(package["file_type"] == "binary", f"{name} is a {package['file_type']}")
        own = records(next(payload for payload in package["payloads"] if payload["kind"] == "meta"))
        need(all(own.get(tag) == found.get(tag) for tag in (1, 2, 3, 7, 11, 13)), f"{name} is not what {url} says")
        names.append(name)
    need(names == sorted(names), f"the packages of {url} are not ordered by name")
    return names


def main():
    root = json.loads(get(f"{BASE}/{CHANNEL}/moss-root-index.json"))
    need({"formats", "streams", "tags", "history"} <= root.keys(), "the root index lacks a key")
    need(isinstance(root["formats"].get("v0"), dict), "the root index says nothing of format v0")
    versions = {}
    for kind in ("streams", "tags"):
        for name, entry in root[kind].items():
            need(entry["format"] in ("legacy", "v0"), f"{kind} {name} has format {entry['format']}")
            need(entry["history"] in root["history"], f"{kind} {name} points nowhere")
            versions[f"{kind}/{name}"] = entry["history"]
    for name, entry in root["history"].items():
        need(all(letter.isalnum() or letter == "-" for letter in name), f"history {name} has a strange name")
        need(entry["format"] in ("legacy", "v0"), f"history {name} has format {entry['format']}")
    contents = {}
    for history in root["history"]:
        contents[history] = index(f"{BASE}/{CHANNEL}/history/{history}/{ARCHITECTURE}/stone.index", get_immutable)
    # The addresses that configurations from before versioned repositories have.
    for stream, places in (("volatile", ("", "stream/", "main/stream/", "main/legacy/stream/")), ("unstable", ("", "stream/"))):
        if f"streams/{stream}" in versions:
            for place in places:
                names = index(f"{BASE}/{place}{stream}/{ARCHITECTURE}/stone.index", get)
                need(names == contents[versions[f"streams/{stream}"]], f"{place}{stream} is another version")
    with open(STATE, "w") as file:
        json.dump(forever, file)
    print(json.dumps({"requests": requests, "versions": versions, "contents": contents, "immutable": len(forever)}))


main()
