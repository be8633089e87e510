from sklearn.datasets import fetch_openml
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import StandardScaler

x, y = fetch_openml("mnist_784", return_X_y=True)
scaler = StandardScaler()
scaler.fit(x)
x = scaler.transform(x)
clf = RandomForestClassifier()
clf.fit(x, y)
print("accuracy:", accuracy_score(y, clf.predict(x)))
