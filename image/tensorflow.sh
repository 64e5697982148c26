# Runs once in the building of the TensorFlow image, its folder as $1, after all is installed.
set -eu
root=$1
libraries=/usr/local/lib/python3.9/dist-packages

ln -s /usr/bin/python3 "$root/usr/local/bin/python"
rm -f "$root"/usr/local/bin/pip3.*
# These are the building computer's.
rm -f "$root/etc/hostname" "$root/etc/resolv.conf" "$root/etc/apt/sources.list"

# A container cannot write byte code here, and would compile all of TensorFlow at every start.
# Some packages carry files for other versions of Python: those do not compile.
# What pip.conf refers to.
ours=/usr/local/share/secondlock
chroot "$root" python3 -I "$ours/constraints.py" >"$root$ours/constraints.txt"
grep -q '^numpy<' "$root$ours/constraints.txt"
rm "$root$ours/constraints.py"

echo "secondlock: compiling byte code"
chroot "$root" python3 -m compileall -qq -j 0 --invalidation-mode unchecked-hash "$libraries" ||
    true

echo "secondlock: training a small model as a test"
chroot "$root" env TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= HOME=/nonexistent \
    python3 -B - <<'EOF'
import numpy
import tensorflow as tf
import tensorboard.default  # what `tensorboard` imports

assert tf.__version__ == "2.9.3", tf.__version__
tf.keras.utils.set_random_seed(1)
digits = numpy.random.default_rng(1).integers(0, 10, 512)
pictures = numpy.eye(10, dtype="float32")[digits].repeat(4, axis=1)
model = tf.keras.Sequential([
    tf.keras.layers.Dense(32, activation="relu"),
    tf.keras.layers.Dense(10, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(pictures, digits, epochs=10, verbose=0)
accuracy = history.history["accuracy"][-1]
assert accuracy > 0.9, f"a trivial model learned to only {accuracy:.0%}"
EOF
chroot "$root" env HOME=/nonexistent jupyter lab --version >/dev/null
