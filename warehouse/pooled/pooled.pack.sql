-- pooled.pack
--
-- Every pack that was ever pooled into this file. A pack older than its site's newest one here is
-- refused: it would bring back old figures.
--
-- grain: One row per site and pack.
-- key: site_id, pack_number
-- columns:
--   site_id VARCHAR - Hospital.
--   pack_number BIGINT - Which pack of the site, from 1.
--   pack_sha VARCHAR - SHA-256 of its manifest.
--   exported VARCHAR - Calendar quarter that it was exported in.
--   software_version VARCHAR - Version of Dripwatch that made it.
--   is_pooled BOOLEAN - Whether this file's results rest on it; the others were replaced by newer ones.

from pooled_rows
