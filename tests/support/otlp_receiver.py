"""A receiver of OTLP over HTTP, of other libraries than the sender: arguments PORT [CERTIFICATE KEY].

Reads lines of JSON: {"answers": [{"status": 429, "headers": {"Retry-After": "7"}, "text": "busy"}, ...]} for the next requests with
something in them, {"limit": BYTES}, {"authorization": TEXT}. Writes a line for each request with something in it.
"""

import collections, gzip, json, ssl, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

REQUESTS = {"/v1/metrics": ExportMetricsServiceRequest, "/v1/logs": ExportLogsServiceRequest}
answers = collections.deque()
settings = {"limit": 1 << 30, "authorization": None}


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path not in REQUESTS:
            return self.answer({"status": 404})
        if settings["authorization"] not in (None, self.headers.get("authorization")):
            return self.answer({"status": 401})
        if self.headers["content-type"] != "application/x-protobuf":
            return self.answer({"status": 415})
        encoding = self.headers.get("content-encoding")
        raw = gzip.decompress(body) if encoding == "gzip" else body
        if not raw:
            return self.answer({"status": 200})
        if len(raw) > settings["limit"]:
            return self.answer({"status": 413})
        answer = answers.popleft() if answers else {"status": 200}
        if answer["status"] == 0:
            self.close_connection = True
            return
        request = MessageToDict(REQUESTS[self.path].FromString(raw))
        seen = {"path": self.path, "encoding": encoding, "status": answer["status"], "request": request}
        print(json.dumps(seen), flush=True)
        self.answer(answer)

    def answer(self, answer):
        body = answer.get("text", "").encode()
        kind = "text/plain"
        if "rejected" in answer:
            response = ExportMetricsServiceResponse()
            response.partial_success.rejected_data_points = answer["rejected"]
            response.partial_success.error_message = answer["text"]
            body, kind = response.SerializeToString(), "application/x-protobuf"
        self.send_response(answer["status"])
        for name, value in answer.get("headers", {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
server.daemon_threads = True
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    answers.extend(order.pop("answers", []))
    settings.update(order)
    print("done", flush=True)
