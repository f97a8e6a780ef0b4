"""The artifacts of the stand-in W&B server (wandb_server.py): versions, aliases, files, and who made and used them."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

TIME = "2026-01-02T03:04:05"
LAST_PAGE = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}


@dataclass
class Artifact:
    """A version of a collection."""

    id: str
    entity: str
    project: str
    collection: str
    type: str
    digest: str
    client_id: str | None
    metadata: dict[str, Any]
    description: str | None
    made_by: str | None
    version: int = 0
    state: str = "PENDING"
    aliases: list[str] = field(default_factory=list)
    used_by: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def manifest_path(self) -> str:
        """Where its manifest is stored."""
        return f"artifacts/{self.id}/wandb_manifest.json"

    def file_path(self, name: str) -> str:
        """Where one of its files is stored."""
        return f"artifacts/{self.id}/files/{name}"


class Artifacts:
    """What was logged, in order, and the GraphQL operations about it.

    Args:
        url: of a stored file, by its path.
        default: the entity of whoever asks.
    """

    def __init__(self, url: Callable[[str], str], default: str) -> None:
        self._url, self._default = url, default
        self.all: list[Artifact] = []
        self.operations: Mapping[str, Callable[[dict[str, Any]], Any]] = {
            "CreateArtifact": self._create,
            "CreateArtifactManifest": self._manifest,
            "UpdateArtifactManifest": self._manifest,
            "CreateArtifactFiles": self._create_files,
            "CommitArtifact": self._commit,
            "UseArtifact": self._use,
            "AddAliases": self._add_aliases,
            "UpdateArtifact": lambda asked: {
                "result": {"artifact": self._whole(self.find(asked["input"]["artifactID"]))}
            },
            "ClientIDMapping": self._client_id,
            "ArtifactType": self._type_of,
            "ArtifactByID": lambda asked: {"artifact": self._whole(self.find(asked["id"]))},
            "ArtifactMembershipByName": self._by_name,
            "ArtifactManifest": self._current_manifest,
            "FetchArtifactManifest": self._current_manifest,
            "GetArtifactMembershipFileUrls": self._file_urls,
            "ArtifactUsedBy": self._used_by,
            "ArtifactCreatedBy": self._created_by,
            "ProjectArtifactCollection": self._collection,
            "ProjectArtifacts": self._project_artifacts,
            "DeleteArtifact": self._delete,
        }

    def committed(self, kind: str) -> list[Artifact]:
        """Those of a type that are whole."""
        return [one for one in self.all if one.state == "COMMITTED" and one.type == kind]

    def find(self, artifact_id: str) -> Artifact:
        """By its id."""
        return next(one for one in self.all if one.id == artifact_id)

    def named(self, entity: str | None, project: str, name: str) -> Artifact | None:
        """``collection:alias`` or ``collection:v0``; without either, the latest."""
        collection, _, alias = name.partition(":")
        for one in self._versions(entity, project, collection):
            if one.state == "COMMITTED" and (alias or "latest") in (f"v{one.version}", *one.aliases):
                return one
        return None

    def stored_path(self, path: str) -> str:
        """What a path means: of the storage, or /artifactsV2/region/entity/project/collection/id/md5/name."""
        match = re.fullmatch(r"/artifactsV2/(?:[^/]+/){4}([^/]+)/[^/]+/(.+)", path)
        return self.find(match.group(1)).file_path(match.group(2)) if match else path

    def _versions(self, entity: str | None, project: str, collection: str) -> list[Artifact]:
        where = (entity or self._default, project, collection)
        return [one for one in self.all if (one.entity, one.project, one.collection) == where]

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        asked = asked.get("input") or asked
        collection = asked.get("artifactCollectionName") or asked["artifactCollectionNames"][0]
        entity, project = asked["entityName"] or self._default, asked["projectName"]
        versions = self._versions(entity, project, collection)
        found = [one for one in versions if one.digest == asked["digest"] and one.state == "COMMITTED"]
        if not found:
            one = Artifact(
                f"artifact-{len(self.all)}",
                *(entity, project, collection, asked["artifactTypeName"], asked["digest"], asked.get("clientID")),
                *(json.loads(asked.get("metadata") or "{}"), asked.get("description"), asked.get("runName")),
                version=len(versions),
            )
            self.all.append(one)
            found = [one]
        self._name(found[0], [alias["alias"] for alias in asked.get("aliases") or []])
        latest = {"id": versions[-1].id, "versionIndex": versions[-1].version} if versions else None
        sequence = {"id": f"sequence-{collection}", "latestArtifact": latest}
        return {
            "createArtifact": {"artifact": {"id": found[0].id, "state": found[0].state, "artifactSequence": sequence}}
        }

    def _name(self, artifact: Artifact, aliases: list[str]) -> None:
        for one in self._versions(artifact.entity, artifact.project, artifact.collection):
            one.aliases = [alias for alias in one.aliases if alias not in aliases]
        artifact.aliases += aliases

    def _manifest(self, asked: dict[str, Any]) -> dict[str, Any]:
        artifact_id = (asked.get("artifactID") or asked["artifactManifestID"]).removeprefix("manifest-")
        url = self._url(self.find(artifact_id).manifest_path)
        file = {"id": f"file-{artifact_id}", "uploadUrl": url, "uploadHeaders": []}
        payload = {"artifactManifest": {"id": f"manifest-{artifact_id}", "file": file}}
        return {"createArtifactManifest": payload, "updateArtifactManifest": payload}

    def _create_files(self, asked: dict[str, Any]) -> dict[str, Any]:
        nodes = []
        for spec in asked["input"]["artifactFiles"]:
            one = self.find(spec["artifactID"])
            one.files.append(spec["name"])
            path = one.file_path(spec["name"])
            more = {"uploadHeaders": [], "uploadMultipartUrls": None, "artifact": {"id": one.id}}
            nodes.append({"storagePath": path, "uploadUrl": self._url(path), **more})
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _commit(self, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.find(asked["artifactID"])
        one.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": one.id, "digest": one.digest}}}

    def _use(self, asked: dict[str, Any]) -> dict[str, Any]:
        asked = asked.get("input") or asked
        one = self.find(asked["artifactID"])
        one.used_by.append(asked["runName"])
        return {"useArtifact": {"artifact": self._whole(one)}}

    def _add_aliases(self, asked: dict[str, Any]) -> dict[str, Any]:
        self._name(self.find(asked["input"]["artifactID"]), [one["alias"] for one in asked["input"]["aliases"]])
        return {"result": {"success": True}}

    def _client_id(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = [one.id for one in self.all if one.client_id == asked["clientID"]]
        return {"clientIDMapping": {"serverID": found[0]} if found else None}

    def _type_of(self, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.named(asked["entity"], asked["project"], asked["name"])
        return {"project": {"artifact": {"artifactType": {"name": one.type}} if one else None}}

    def _by_name(self, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.named(asked["entity"], asked["project"], asked["name"])
        return {"project": {"artifactCollectionMembership": self._membership(one) if one else None}}

    def _collection(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = self._versions(asked["entity"], asked["project"], asked["name"])
        if not found:
            return {"project": {"artifactType": None}}
        collection = {
            "__typename": "ArtifactSequence",
            "id": f"sequence-{asked['name']}",
            "name": asked["name"],
            "description": None,
            "createdAt": TIME,
            "updatedAt": TIME,
            "project": self._project(found[0]),
            "type": {"name": found[0].type},
            "tags": {"edges": []},
        }
        return {"project": {"artifactType": {"artifactCollection": collection}}}

    def _project_artifacts(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A page of a collection's versions, the newest first."""
        assert json.loads(asked["filters"]) == {"state": "COMMITTED"}
        versions = self._versions(asked["entity"], asked["project"], asked["collection"])
        committed = [one for one in reversed(versions) if one.state == "COMMITTED"]
        start = int(asked.get("cursor") or 0)
        end = start + asked["perPage"]
        edges = [{"version": f"v{one.version}", "node": self._whole(one)} for one in committed[start:end]]
        page = {"__typename": "PageInfo", "endCursor": str(end), "hasNextPage": end < len(committed)}
        artifacts = {"totalCount": len(committed), "pageInfo": page, "edges": edges}
        collection = {"__typename": "ArtifactSequence", "artifacts": artifacts}
        return {"project": {"artifactType": {"artifactCollection": collection}}}

    def _delete(self, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.find(asked["input"]["artifactID"])
        assert asked["input"]["deleteAliases"] or not one.aliases
        one.state, one.aliases = "DELETED", []
        return {"result": {"artifact": {"id": one.id}}}

    def _current_manifest(self, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.find(asked.get("id") or asked["artifact_id"])
        return {"artifact": {"currentManifest": {"file": {"directUrl": self._url(one.manifest_path)}}}}

    def _file_urls(self, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.named(asked["entity"], asked["project"], f"{asked['collection']}:{asked['alias']}")
        assert one is not None
        nodes = [
            {"__typename": "File", "name": name, "directUrl": self._url(one.file_path(name))} for name in one.files
        ]
        files = {"pageInfo": LAST_PAGE, "edges": [{"node": node} for node in nodes]}
        collection = {"__typename": "ArtifactSequence", "artifactMembership": {"files": files}}
        return {"project": {"artifactCollection": collection}}

    def _used_by(self, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.find(asked["id"])
        return {"artifact": {"usedBy": {"edges": [{"node": self._run(one, name)} for name in one.used_by]}}}

    def _created_by(self, asked: dict[str, Any]) -> dict[str, Any]:
        one = self.find(asked["id"])
        return {"artifact": {"createdBy": self._run(one, one.made_by) if one.made_by else None}}

    def _run(self, artifact: Artifact, name: str) -> dict[str, Any]:
        return {"__typename": "Run", "id": f"run-{name}", "name": name, "project": self._project(artifact)}

    def _project(self, one: Artifact) -> dict[str, Any]:
        return {"id": "project", "internalId": "project", "name": one.project, "entity": {"name": one.entity}}

    def _membership(self, one: Artifact) -> dict[str, Any]:
        collection = {"__typename": "ArtifactSequence", "name": one.collection, "project": self._project(one)}
        aliases = [{"__typename": "ArtifactAlias", "id": alias, "alias": alias} for alias in one.aliases]
        return {
            "__typename": "ArtifactCollectionMembership",
            "id": f"membership-{one.id}",
            "versionIndex": one.version,
            "createdAt": TIME,
            "aliases": aliases,
            "artifactCollection": collection,
            "artifact": self._whole(one),
        }

    def _whole(self, one: Artifact) -> dict[str, Any]:
        sequence = {"__typename": "ArtifactSequence", "name": one.collection, "project": self._project(one)}
        aliases = [{"__typename": "ArtifactAlias", "id": alias, "alias": alias} for alias in one.aliases]
        return {
            "__typename": "Artifact",
            "id": one.id,
            "artifactSequence": sequence,
            "versionIndex": one.version,
            "artifactType": {"name": one.type},
            "description": one.description,
            "metadata": json.dumps(one.metadata),
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": one.state,
            "size": 0,
            "digest": one.digest,
            "digestAlgorithm": "MANIFEST_MD5",
            "commitHash": None,
            "fileCount": len(one.files),
            "createdAt": TIME,
            "updatedAt": TIME,
            "aliases": [{**alias, "artifactCollection": sequence} for alias in aliases],
        }
