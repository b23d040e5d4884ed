#!/usr/bin/env python3
"""A small hub on loopback for the tests of `loam pull`: Python's standard library only.

    hub.py ROOT PORT_FILE

ROOT/org/name/ holds the files of a repository.  Two servers start: the hub on 127.0.0.1 and a
"CDN" on 127.0.0.2 (another host for a client), where files of 1,000 bytes and more are kept.
PORT_FILE gets "HUB_PORT CDN_PORT" when both listen.  What the hub does:

    GET  /api/models/ORG/NAME/revision/REV      {"sha", "siblings"}
    GET  /api/models/ORG/NAME/tree/COMMIT       pages of 3 files, with a Link header
    HEAD|GET /ORG/NAME/resolve/REV/PATH         the file, or 302 to the CDN
    POST /_faults                               JSON list of faults, replaces the last
    GET  /_log                                  JSON list of requests so far; cleared

A fault is {"kind": ..., "match": text in the path, "times": N (default: always), ...}:
    cut {bytes}, wrong, stall {bytes, seconds}, slow {rate}, norange, badrange, gzip, long,
    status {code, headers}, token {value}, etag {value}
"""
import gzip
import hashlib
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

ROOT, PORT_FILE = sys.argv[1:3]
LFS = 1000
PAGE = 3
lock = threading.Lock()
faults, log = [], []
ports = {}


def take(kind, path):
    """The first fault of this kind that matches, counted down."""
    with lock:
        for f in faults:
            if f["kind"] == kind and f.get("match", "") in path and f.get("times", 1) > 0:
                if "times" in f:
                    f["times"] -= 1
                return f
    return None


def files(repo):
    top = os.path.join(ROOT, repo)
    found = []
    for folder, _, names in os.walk(top):
        found += [os.path.relpath(os.path.join(folder, n), top) for n in names]
    return sorted(found)


def read(repo, path):
    with open(os.path.join(ROOT, repo, path), "rb") as f:
        return f.read()


def commit(repo):
    h = hashlib.sha1()
    for p in files(repo):
        h.update(p.encode() + b"\0" + read(repo, p))
    return h.hexdigest()


def git_oid(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def reply(self, code, body=b"", headers=()):
        self.send_response(code)
        for k, v in dict(headers).items():
            self.send_header(k, v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value, headers=()):
        self.reply(200, json.dumps(value).encode(), headers)

    def do_POST(self):
        global faults
        with lock:
            faults = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.json("ok")

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        url = urlsplit(self.path)
        path = unquote(url.path)
        if path == "/_log":
            with lock:
                text, log[:] = json.dumps(log), []
            return self.reply(200, text.encode())
        with lock:
            log.append({"method": self.command, "path": self.path, "server": self.server.kind,
                        "range": self.headers.get("Range"),
                        "token": self.headers.get("Authorization")})
        fault = take("status", self.server.kind + path)
        if fault:
            return self.reply(fault["code"], b"no", fault.get("headers", {}))
        if self.server.kind == "cdn":
            return self.cdn(path)
        token = next((f for f in faults if f["kind"] == "token" and f.get("match", "") in path), 0)
        if token and self.headers.get("Authorization") != "Bearer " + token["value"]:
            return self.reply(401, b"{}", {"X-Error-Code": token.get("code", "RepoNotFound")})
        parts = path.split("/")
        try:
            if path.startswith("/api/models/"):
                self.api("/".join(parts[3:5]), parts[5:], url.query)
            else:
                self.resolve("/".join(parts[1:3]), parts[4], "/".join(parts[5:]))
        except (FileNotFoundError, IndexError):
            self.reply(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def api(self, repo, rest, query):
        if not os.path.isdir(os.path.join(ROOT, repo)):
            return self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        sha = commit(repo)
        if not rest or rest[0] == "revision":
            rev = "/".join(rest[1:]) or "main"
            if rev not in ("main", "v1.0", "refs/pr/1", sha):
                return self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return self.json({"id": repo, "sha": sha,
                              "siblings": [{"rfilename": p} for p in files(repo)]})
        names = files(repo)
        at = int(query.rpartition("cursor=")[2]) if "cursor=" in query else 0
        page = []
        for p in names[at:at + PAGE]:
            data = read(repo, p)
            e = {"type": "file", "oid": git_oid(data), "size": len(data), "path": p}
            if len(data) >= LFS:
                e["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data),
                            "pointerSize": 134}
            page.append(e)
        extra = take("tree", repo)
        if extra:
            page += extra["entries"]
        more = {}
        if at + PAGE < len(names):
            more["Link"] = '<http://127.0.0.1:%d/api/models/%s/tree/%s?recursive=true&cursor=%d>; ' \
                'rel="next"' % (ports["hub"], repo, sha, at + PAGE)
        self.json(page, more)

    def resolve(self, repo, rev, path):
        data = read(repo, path)
        head = {"X-Repo-Commit": commit(repo)}
        if len(data) < LFS:
            fault = take("etag", path)
            head["ETag"] = '"%s"' % (fault["value"] if fault else git_oid(data))
            return self.body(path, data, head)
        sha = hashlib.sha256(data).hexdigest()
        head.update({"X-Linked-Etag": '"%s"' % sha, "X-Linked-Size": str(len(data)),
                     "ETag": '"of-the-redirect"',
                     "Location": "http://127.0.0.2:%d/%s/%s" % (ports["cdn"], repo, path)})
        self.reply(302, b"moved", head)

    def cdn(self, path):
        parts = path.split("/")
        self.body(path, read("/".join(parts[1:3]), "/".join(parts[3:])), {})

    def body(self, path, data, head):
        begin = 0
        asked = self.headers.get("Range")
        if take("wrong", path) and self.command == "GET":
            data = data[:-1] + bytes([data[-1] ^ 1])
        if asked and not take("norange", path):
            begin = int(asked[len("bytes="):].split("-")[0])
            if begin >= len(data):
                return self.reply(416, b"", {"Content-Range": "bytes */%d" % len(data)})
            shift = 7 if take("badrange", path) else 0
            head["Content-Range"] = "bytes %d-%d/%d" % (begin + shift, len(data) - 1, len(data))
        if self.command == "GET" and take("gzip", path):
            head["Content-Encoding"] = "gzip"
            return self.reply(200, gzip.compress(data), head)
        self.send_response(206 if begin else 200)
        for k, v in head.items():
            self.send_header(k, v)
        rest = data[begin:]
        if take("long", path):
            rest += b"x" * 100
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut, stall, slow = take("cut", path), take("stall", path), take("slow", path)
        if cut:
            self.wfile.write(rest[:cut["bytes"]])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        if stall:
            self.wfile.write(rest[:stall["bytes"]])
            self.wfile.flush()
            time.sleep(stall["seconds"])
            self.close_connection = True
            return
        step = 1 << 16
        for at in range(0, len(rest), step):
            self.wfile.write(rest[at:at + step])
            if slow:
                time.sleep(step / slow["rate"])


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        pass  # clients that are killed are part of the tests


def main():
    servers = []
    for kind, host in (("hub", "127.0.0.1"), ("cdn", "127.0.0.2")):
        s = Server((host, 0), Handler)
        s.kind = kind
        ports[kind] = s.server_address[1]
        servers.append(s)
    for s in servers[1:]:
        threading.Thread(target=s.serve_forever, daemon=True).start()
    with open(PORT_FILE + ".tmp", "w") as f:
        f.write("%d %d\n" % (ports["hub"], ports["cdn"]))
    os.rename(PORT_FILE + ".tmp", PORT_FILE)
    servers[0].serve_forever()


main()
