-- Make the stage ours: nobody else gets at it before we end, and COPY may FREEZE. Identifiers: stage.
TRUNCATE {stage};
