-- Seriousness and treatment of every event (docs/windows.md, section 9).

CREATE TABLE serious (
    unit_id VARCHAR, outcome VARCHAR, window_name VARCHAR,
    is_serious BOOLEAN, serious_criteria VARCHAR[], is_treated BOOLEAN
);
