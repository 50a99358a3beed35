"""An honest client of the studio's API: it sends photographs, teaches, paints, and waits as a program would."""

from __future__ import annotations

import base64
import hashlib
import io
import time
from dataclasses import dataclass
from typing import Any

import httpx
from PIL import Image

PATIENCE = 300.0
"""Seconds after which a job that has not ended counts as lost."""
OVER = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Taught:
    """A concept on the server."""

    id: str
    name: str
    job: str


class Client:
    """A user of the studio at `url`; `token` where it asks for one."""

    def __init__(self, url: str, token: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=PATIENCE)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def call(self, method: str, path: str, **more: Any) -> Any:
        """The JSON of an answer. Raises `RuntimeError` with the server's words for an error."""
        answer = self.http.request(method, path, **more)
        if answer.status_code >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status_code}: {answer.text[:500]}")
        return answer.json()

    def subject(self, name: str, pictures: list[bytes], *, noun: str) -> str:
        """Send a subject's pictures; its id."""
        files = [("pictures", (f"{name}-{k}.png", data, "image/png")) for k, data in enumerate(pictures)]
        made = self.call("POST", "/api/subjects", data={"name": name, "noun": noun}, files=files)
        return str(made["id"])

    def submit(self, kind: str, **payload: Any) -> str:
        """Add a job to the queue; its id."""
        return str(self.call("POST", "/api/jobs", json={"kind": kind, "payload": payload})["id"])

    def wait(self, job: str, patience: float = PATIENCE) -> dict[str, Any]:
        """The job when it is over. Raises `RuntimeError` for one that failed or did not end."""
        deadline, pause = time.monotonic() + patience, 0.1
        while time.monotonic() < deadline:
            record: dict[str, Any] = self.call("GET", f"/api/jobs/{job}")
            if record["state"] in OVER:
                if record["state"] != "done":
                    raise RuntimeError(f"job {job} {record['state']}: {record['failure']}")
                return record
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        raise RuntimeError(f"job {job} did not end within {patience:.0f} s: {record['state']}")

    def learn(self, subject: str, **settings: Any) -> Taught:
        """Teach a subject, and wait for its concept."""
        job = self.submit("learn", subject=subject, **settings)
        self.wait(job)
        concepts = self.call("GET", "/api/concepts")["concepts"]
        concept = next(each for each in concepts if each["job"] == job)
        return Taught(concept["id"], concept["name"], job)

    def teach(self, name: str, pictures: list[bytes], *, noun: str, **settings: Any) -> Taught:
        """From pictures to a concept, in seconds: the goal "fast" unless settings say otherwise."""
        return self.learn(self.subject(name, pictures, noun=noun), **(settings or {"goal": "fast"}))

    def paint(self, concept: Taught, *, seed: int, prompt: str = "on the beach") -> str:
        """The hash of the pixels of one picture."""
        image = self.picture(concept, seed=seed, prompt=prompt)
        return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()

    def picture(self, concept: Taught, *, seed: int, prompt: str = "on the beach") -> Image.Image:
        """Paint one picture by OpenAI's route."""
        words = {"model": concept.id, "prompt": f"<{concept.name}> {prompt}", "seed": seed, "n": 1}
        answer = self.call("POST", "/v1/images/generations", json=words | {"response_format": "b64_json"})
        return opened(base64.b64decode(answer["data"][0]["b64_json"]))

    def image(self, path: str) -> Image.Image:
        """A picture of the server."""
        return opened(self.http.get(path).raise_for_status().content)

    def ids(self) -> dict[str, str]:
        """Noun -> id of one thing of the user, for each kind of thing there is."""
        lists = {"subject": "subjects", "concept": "concepts", "job": "jobs", "picture": "pictures"}
        newest = {noun: self.call("GET", f"/api/{rows}")[rows] for noun, rows in lists.items()}
        return {noun: str(rows[0]["id"]) for noun, rows in newest.items() if rows}


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def toy_pictures(number: int, kind: str = "car") -> list[bytes]:
    """Four renders of a held-out toy, as files."""
    from limner.pocket.subjects import toy

    files = []
    for picture in toy(kind, 2_000_000 + number).pictures:
        buffer = io.BytesIO()
        assert picture.image is not None
        picture.image.resize((384, 384)).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files
