"""The notebooks that are run: an empty one, one that trains, and eight short steps that hand data on."""

from pathlib import Path

import nbformat

EMPTY = ["x = 1"]
TRAIN = [
    "import mlflow\nimport pandas as pd\nimport xgboost\n"
    "from sklearn.datasets import make_classification\nfrom sklearn.model_selection import train_test_split",
    "X, y = make_classification(2000, 20, random_state=0)\ndf = pd.DataFrame(X)\ndf.describe()",
    "parts = train_test_split(df, y, random_state=0)",
    "model = xgboost.XGBClassifier(n_estimators=40, n_jobs=1, random_state=0).fit(parts[0], parts[2])",
    "model.score(parts[1], parts[3])",
]
FIGURE = [
    "import matplotlib.pyplot as plt\nfrom sklearn.datasets import load_breast_cancer\n"
    "from sklearn.ensemble import RandomForestClassifier\n\nfrom mlops_nb import step",
    "X, y = load_breast_cancer(return_X_y=True, as_frame=True)\nX.groupby(y).mean().round(3).T.head()",
    "forest = RandomForestClassifier(50, random_state=0, n_jobs=2).fit(X[:400], y[:400])\n"
    "step.log(accuracy=forest.score(X[400:], y[400:]))\nprint(forest.predict_proba(X[400:410]).round(6).tolist())",
    "plt.bar(range(5), forest.feature_importances_[:5]);",
]
STEPS = 8


def step_cells(number: int) -> list[str]:
    "A short step: it reads what the one before it wrote, sums up, and writes."
    before = f"df = pd.read_csv('part_{number - 1}.csv')" if number else "df = pd.DataFrame({'a': range(500)})"
    return [
        "import pandas as pd\nfrom sklearn.preprocessing import StandardScaler",
        before,
        "df['a'] = StandardScaler().fit_transform(df[['a']])",
        f"df.to_csv('part_{number}.csv', index=False)\nlen(df)",
    ]


def chained_cells(number: int) -> list[str]:
    "The same step as one of a pipeline."
    before = f"step.load('part_{number - 1}')" if number else "pd.DataFrame({'a': range(500)})"
    return [
        "import pandas as pd\nfrom sklearn.preprocessing import StandardScaler\n\nfrom mlops_nb import step",
        f"df = {before}",
        "df['a'] = StandardScaler().fit_transform(df[['a']])",
        f"step.save('part_{number}', df)\nlen(df)",
    ]


TUNED_PARAMETERS = "depth: int = 3\nrate: float = 0.1"
TUNED = [
    *TRAIN[:3],
    "model = xgboost.XGBClassifier(max_depth=depth, learning_rate=rate, n_estimators=40, n_jobs=1, random_state=0)\n"
    "model = model.fit(parts[0], parts[2])",
    "score = model.score(parts[1], parts[3])\nprint(score)",
]


def write(path: Path, cells: list[str], parameters: str = "number: int = 0") -> Path:
    "Write cells as a notebook, below one that is tagged `parameters`."
    path.parent.mkdir(parents=True, exist_ok=True)
    tagged = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[tagged, *map(nbformat.v4.new_code_cell, cells)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path
