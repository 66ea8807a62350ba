-- Nobody needs it any more. Identifiers: stage.
DROP TABLE IF EXISTS {stage};
