"""Polygons as a GeoPackage: SQLite with a geometry column, OGC 12-128r18 (version 1.3)."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from kda_edge.ground.ground import Floats

from .features import LONLAT, Feature

TABLE: Final = "landslides"
LAST_CHANGE: Final = "1970-01-01T00:00:00.000Z"  # required, and equal maps give equal files: it says nothing
WGS84, PIXELS = 4326, -1  # spatial reference systems; -1 is any plane with unknown axes
FAILURES: Final = (OSError, sqlite3.Error)

_DEFINITION: Final = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG","7030"]],'
    'AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],UNIT["degree",0.0174532925199433,'
    'AUTHORITY["EPSG","9122"]],AXIS["Latitude",NORTH],AXIS["Longitude",EAST],AUTHORITY["EPSG","4326"]]'
)
_SYSTEMS: Final = (
    ("Undefined Cartesian SRS", -1, "NONE", -1, "undefined", "undefined Cartesian coordinate reference system"),
    ("Undefined geographic SRS", 0, "NONE", 0, "undefined", "undefined geographic coordinate reference system"),
    ("WGS 84 geodetic", WGS84, "EPSG", WGS84, _DEFINITION, "longitude and latitude, degrees, on the WGS 84 ellipsoid"),
)
# A file without a rollback journal is no loss: one that was not finished is thrown away.
_PRAGMAS: Final = (
    "PRAGMA page_size = 4096",
    "PRAGMA application_id = 0x47504B47",  # GPKG
    "PRAGMA user_version = 10300",
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA cache_size = -4096",  # KiB; what does not fit goes to the file, so that memory is bounded
    "PRAGMA temp_store = MEMORY",
)
_TABLES: Final = (
    """CREATE TABLE gpkg_spatial_ref_sys (
  srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY, organization TEXT NOT NULL,
  organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT)""",
    """CREATE TABLE gpkg_contents (
  table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE, description TEXT DEFAULT '',
  last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
  min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
  CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id))""",
    """CREATE TABLE gpkg_geometry_columns (
  table_name TEXT NOT NULL, column_name TEXT NOT NULL, geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL,
  z TINYINT NOT NULL, m TINYINT NOT NULL,
  CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name), CONSTRAINT uk_gc_table_name UNIQUE (table_name),
  CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
  CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id))""",
    f"""CREATE TABLE {TABLE} (
  id INTEGER PRIMARY KEY NOT NULL, geom POLYGON, area_m2 DOUBLE, area_px INTEGER NOT NULL,
  mean_probability DOUBLE NOT NULL, max_probability DOUBLE NOT NULL, qa_share DOUBLE NOT NULL)""",
)


class GeoPackage:
    """A file that features are appended to; complete once it is finished. Raises FAILURES where it can't be written.

    One transaction from beginning to end: equal features give equal bytes, whatever calls brought them, with the same
    version of SQLite.
    """

    def __init__(self, path: Path, coordinate_system: str, facts: Mapping[str, object]) -> None:
        """Create the file.

        Args:
            path: replaced if it exists.
            coordinate_system: what the coordinates are; LONLAT, or pixels and why.
            facts: what else is known of the map; both are kept, as JSON, in the layer's description.
        """
        path.unlink(missing_ok=True)
        self._description = json.dumps({"coordinate_system": coordinate_system, **facts})
        self._system = WGS84 if coordinate_system == LONLAT else PIXELS
        self._bounds: tuple[float, float, float, float] | None = None  # least and largest x, least and largest y
        self._base = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in _PRAGMAS:
            self._base.execute(pragma)
        self._base.execute("BEGIN EXCLUSIVE")
        for table in _TABLES:
            self._base.execute(table)
        self._base.executemany("INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, ?)", _SYSTEMS)

    def write(self, features: Iterable[Feature]) -> None:
        """Append features."""
        self._base.executemany(f"INSERT INTO {TABLE} VALUES (?, ?, ?, ?, ?, ?, ?)", self._rows(features))

    def finish(self) -> None:
        """Complete the file and close it."""
        west, east, south, north = self._bounds or (None,) * 4
        self._base.execute(
            "INSERT INTO gpkg_contents VALUES (?, 'features', ?, ?, ?, ?, ?, ?, ?, ?)",
            (TABLE, TABLE, self._description, LAST_CHANGE, west, south, east, north, self._system),
        )
        self._base.execute(
            "INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', 'POLYGON', ?, 0, 0)", (TABLE, self._system)
        )
        self._base.execute("COMMIT")
        self._base.close()

    def close(self) -> None:
        """Let go of the file, complete or not."""
        self._base.close()

    def _rows(self, features: Iterable[Feature]) -> Iterator[tuple[int | float | bytes | None, ...]]:
        for feature in features:
            outer = feature.rings[0]
            (west, south), (east, north) = outer.min(axis=0).tolist(), outer.max(axis=0).tolist()
            w, e, s, n = self._bounds or (west, east, south, north)
            self._bounds = min(w, west), max(e, east), min(s, south), max(n, north)
            header = struct.pack("<2sBBi4d", b"GP", 0, 0b0011, self._system, west, east, south, north)
            yield (
                feature.id,
                header + _well_known_binary(feature.rings),
                feature.area_m2,
                feature.area_px,
                feature.mean_probability,
                feature.max_probability,
                feature.qa_share,
            )


def _well_known_binary(rings: list[Floats]) -> bytes:
    """Return a polygon in little-endian WKB."""
    parts = [struct.pack("<BII", 1, 3, len(rings))]
    for ring in rings:
        parts += [struct.pack("<I", len(ring)), ring.astype("<f8").tobytes()]
    return b"".join(parts)
