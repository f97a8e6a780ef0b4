"""Serves modules that were pulled: classes of a network, composed, over HTTP."""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from moda_core import load_modules

LARGEST_BODY = 2**24


def make_server(folder: str, classes: list[str] | None, port: int) -> ThreadingHTTPServer:
    """A server on this machine alone; port 0 takes a free one.

    GET says what it knows, and POST of ``{"images": [...]}`` (B, ch, H, W, numbers from 0 to 255) gives their classes.
    """
    module = load_modules(folder, classes)
    about = {
        "classes": module.class_names,
        "shape": module.manifest["preprocessing"]["shape"],
        "parameters": sum(one.numel() for one in module.parameters()),
        "of": module.manifest["about"]["full_parameters"],
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, about)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            if length > LARGEST_BODY:
                self.answer(413, {"error": f"{length} bytes; at most {LARGEST_BODY}"})
                return
            try:
                images = torch.tensor(json.loads(self.rfile.read(length))["images"], dtype=torch.uint8)
                if images.ndim != 4:
                    raise ValueError(f"images are of shape {tuple(images.shape)}, not (B, ch, H, W)")
                self.answer(200, {"classes": module.classify(images)})
            except (ValueError, KeyError, TypeError, RuntimeError) as error:
                self.answer(400, {"error": f"{type(error).__name__}: {error}"})

        def answer(self, status: int, what: object) -> None:
            body = json.dumps(what).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="a module set, as moda pull makes it")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="of the set (default all)")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    server = make_server(options.folder, options.classes, options.port)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
