"""All folds in time order, one forecast table."""
