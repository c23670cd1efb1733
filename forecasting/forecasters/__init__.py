"""Panel in, forecast table out."""
