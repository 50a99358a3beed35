"""Uploads to the hub, and the provenance in pictures."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import limner
from limner.apps.cli.main import main
from limner.core.picture import Picture
from limner.core.provenance import SOURCE_TYPE
from limner.core.subject import Subject
from limner.errors import FileError, InputError
from limner.workflows.publish import publish
from tests.helpers import open_image


@pytest.fixture(scope="module")
def concept(base: Any, rex: Subject) -> limner.Concept:
    return limner.learn(base, rex, method="lora_dreambooth", steps=2, rank=2, num_class_pictures=2, batch=1)


@pytest.fixture(scope="module")
def folder(base: Any, concept: limner.Concept, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("published") / "rex"
    assert (
        publish(concept, base, "me/rex", found, formats=("diffusers", "kohya"), licence="cc0-1.0", upload=False) == ""
    )
    return found


def test_the_card_is_what_the_hub_expects(folder: Path, concept: limner.Concept) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(folder / "README.md")
    about = card.data.to_dict()
    assert about["base_model"] == "pocket"
    assert about["license"] == "cc0-1.0"
    assert {"lora", "template:sd-lora", "text-to-image", "diffusers"} <= set(about["tags"])
    assert about["instance_prompt"].endswith("dog")
    assert len(about["widget"]) == 4
    for shown in about["widget"]:
        assert (folder / shown["output"]["url"]).is_file()
        assert about["instance_prompt"] in shown["text"]
    assert "<Gallery />" in card.content
    assert "load_lora_weights" in card.content


def test_the_card_of_keys_and_values_learned_whole_loads_them(base: Any, rex: Subject, tmp_path: Path) -> None:
    learned = limner.learn(base, rex, method="custom_diffusion", steps=1, batch=1, num_class_pictures=1)
    publish(learned, base, "me/rex", tmp_path / "rex", upload=False)
    card = (tmp_path / "rex" / "README.md").read_text(encoding="utf-8")
    assert 'pipeline.unet.load_attn_procs(".", weight_name=' in card
    assert "pytorch_custom_diffusion_weights.safetensors" in card
    assert card.count("load_textual_inversion(") == 1  # the word


def test_its_files_load_again(folder: Path, base: Any, concept: limner.Concept) -> None:
    from limner.formats import import_file

    assert limner.Concept.load(folder / "rex.limner.safetensors").header == concept.header
    for file in (folder / "rex.safetensors", folder / "kohya" / "rex.safetensors"):
        back = import_file(file, base).concept
        assert back is not None
        assert back.handle == "<rex>"


def test_uploading_says_what_it_lacks(
    base: Any, concept: limner.Concept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    calls: list[tuple[str, Any]] = []

    class Hub:
        def create_repo(self, repo: str, **about: Any) -> str:
            calls.append((repo, about["private"]))
            return f"https://hub/{repo}"

        def upload_folder(self, *, repo_id: str, folder_path: Path, **_: Any) -> None:
            calls.append((repo_id, sorted(p.name for p in Path(folder_path).iterdir())))

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    where = publish(concept, base, "me/rex", tmp_path / "a", private=True)
    assert where == "https://hub/me/rex"
    assert calls[0] == ("me/rex", True)
    assert calls[1][1] == ["README.md", "images", "rex.limner.safetensors", "rex.safetensors"]

    class Refusing(Hub):
        def create_repo(self, repo: str, **_: Any) -> str:
            raise huggingface_hub.errors.LocalTokenNotFoundError("Token is required")

    monkeypatch.setattr(huggingface_hub, "HfApi", Refusing)
    with pytest.raises(FileError, match="was written, but not uploaded.*hf auth login"):
        publish(concept, base, "me/rex", tmp_path / "b")
    with pytest.raises(FileError, match="not empty"):
        publish(concept, base, "me/rex", tmp_path / "b")
    with pytest.raises(InputError, match="USER/REPO"):
        publish(concept, base, "rex", tmp_path / "c")


def test_a_dry_run_from_the_command_line(concept: limner.Concept, tmp_path: Path) -> None:
    file, out = concept.save(tmp_path / "rex.safetensors"), tmp_path / "out"
    pictures = tmp_path / "gallery"
    Picture(Image.new("RGB", (8, 8)), "<rex> at sea", 1, ("<rex>",), "pocket", {"steps": 3}).save(pictures / "0.png")
    told = ["publish", str(file), "--to", "me/rex", "--dry-run", "--out", str(out), "--pictures", str(pictures)]
    assert main(told) == 0
    assert "dog at sea" in (out / "README.md").read_text()
    assert "The author names none" in (out / "README.md").read_text()


# ------------------------------------------------------------------------------------------------------------- pictures


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    told = {"steps": 25, "guidance": 4.0, "sampler": "ddim", "scale": 1.0, "negative": "fog"}
    return Picture(Image.new("RGB", (16, 16), "red"), "<rex> — à la plage", 7, ("<rex>",), "pocket", told).save(
        tmp_path / "p.png"
    )


def test_a_picture_tells_other_tools_how_it_was_made(saved: Path) -> None:
    about = open_image(saved).info
    assert json.loads(about["limner"])["seed"] == 7
    first, negative, fields = about["parameters"].split("\n")
    assert (first, negative) == ("<rex> — à la plage", "Negative prompt: fog")
    assert fields.startswith("Steps: 25, Sampler: DDIM, CFG scale: 4.0, Seed: 7, Size: 16x16, Model: pocket")


def test_a_picture_says_that_an_algorithm_made_it(saved: Path) -> None:
    image = open_image(saved)
    assert f'DigitalSourceType="{SOURCE_TYPE}"' in image.info["XML:com.adobe.xmp"]
    assert SOURCE_TYPE.endswith("trainedAlgorithmicMedia")


def certificate_and_key(folder: Path) -> tuple[Path, Path]:
    """A chain of two certificates made on the spot: an authority's, and a signer's as C2PA wants them."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.UTC)

    def made(name: str, key: Any, issuer: Any, signing: Any, authority: bool) -> Any:
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "limner")]
        )
        use = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=9))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=True, key_cert_sign=authority, crl_sign=authority, **use), critical=True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
        )
        if not authority:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            built = built.add_extension(usage, critical=False)
        return built.sign(signing, hashes.SHA256())

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = made("a root", root_key, None, root_key, True)
    leaf = made("a signer", key, root.subject, root_key, False)
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (leaf, root)))
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(*pem))
    return chain, private


def test_a_signed_picture_is_verified_offline(saved: Path, tmp_path: Path) -> None:
    pytest.importorskip("c2pa")
    from limner.core.provenance import manifest_of, signed

    chain, key = certificate_and_key(tmp_path)
    path = signed(saved, certificate=chain, key=key, to=tmp_path / "signed.png", title="rex")
    found = manifest_of(path)
    (manifest,) = found["manifests"].values()
    assert SOURCE_TYPE in json.dumps(manifest["assertions"])
    assert open_image(path).info["parameters"].startswith("<rex>")
    faults = {s["code"] for s in found.get("validation_status", [])}
    assert faults <= {"signingCredential.untrusted"}  # the root was made up here; nothing else is wrong
    changed = bytearray(path.read_bytes())
    at = changed.rindex(b"IDAT") + 6
    changed[at] ^= 0xFF
    broken = tmp_path / "broken.png"
    broken.write_bytes(bytes(changed))
    after = {s["code"] for s in manifest_of(broken).get("validation_status", [])}
    assert "assertion.dataHash.mismatch" in after
    with pytest.raises(FileError, match="no C2PA manifest"):
        manifest_of(saved)
